// upkeep/plan-compaction.ts: which fragments of a table are written anew, and in which order. Pure.
//
// A fragment is small below half of the target, and dirty when more than the tolerated share of its rows is deleted. Rows of a table without a key keep their
// order, so only neighbours are put together; rows of a table with a key come out in key order, each stretch of overlapping fragments merged.
// Invariant: a plan made from what another one left, nothing written between, is empty: outputs of one group have at least half of the target each, or are one.
// The background merges by levels (size-tiered compaction, as LSM stores do): a group is at least `growth` times its largest member, so a row is written anew
// at most log_growth(target / flush) times.

import type { FragmentId, StatValue } from '../format/index.ts'

export interface PlannedFragment extends FragmentId {
  readonly rows: number
  /** Deleted rows. */
  readonly hidden: number
  /** In key order. */
  readonly isSorted: boolean
  /** Bounds of the first key column; undefined: not known. */
  readonly min?: StatValue | undefined
  readonly max?: StatValue | undefined
}

export interface TableShape {
  readonly isKeyed: boolean
  /** Rows of a full fragment. */
  readonly targetRows: number
  /** Rows that a merge may hold in memory. */
  readonly mergeRows: number
  /** In the order of the table. */
  readonly fragments: readonly PlannedFragment[]
}

export interface CompactionPolicy {
  /** Deleted share of a fragment from which on it is written anew. */
  readonly deletedShare: number
  /** Fewest fragments that are worth being put together. */
  readonly fanIn: number
  /** A group has at least this many times the rows of its largest member; 0: whatever it has. */
  readonly growth: number
}

/** What a caller asks for: everything that can be done. */
export const THOROUGH: CompactionPolicy = { deletedShare: 0.1, fanIn: 2, growth: 0 }
/** What is done in the background: what pays. */
export const FRUGAL: CompactionPolicy = { deletedShare: 0.25, fanIn: 8, growth: 4 }

/** Fragments that are written anew together. */
export interface CompactionGroup {
  /** In the order of the output. Several in one segment are merged by key, or sorted when it is one. */
  readonly segments: readonly (readonly PlannedFragment[])[]
  /** Live rows. */
  readonly rows: number
  /** Rows of each fragment that comes out but the last. */
  readonly outputRows: number
}

export function planCompaction(shape: TableShape, policy: CompactionPolicy): CompactionGroup[] {
  const groups = shape.isKeyed ? keyedGroups(shape, policy) : neighbourGroups(shape, policy)
  return groups.map((members) => groupOf(shape, members))
}

function groupOf({ isKeyed, targetRows, mergeRows }: TableShape, members: readonly PlannedFragment[]): CompactionGroup {
  const rows = liveRows(members)
  const outputs = Math.max(1, Math.ceil(rows / targetRows))
  return { segments: isKeyed ? segmentsOf(members, mergeRows) : members.map((member) => [member]), rows, outputRows: Math.ceil(rows / outputs) }
}

function neighbourGroups({ fragments, targetRows }: TableShape, policy: CompactionPolicy): PlannedFragment[][] {
  const groups: PlannedFragment[][] = []
  let run: PlannedFragment[] = []
  const end = (): void => {
    if (run.length > 0) groups.push(...worthwhile(run, policy))
    run = []
  }
  for (const fragment of fragments) {
    if (isSmall(fragment, targetRows) || isDirty(fragment, policy)) run.push(fragment)
    else end()
  }
  end()
  return groups
}

/** What of a run of neighbours is put together. */
function worthwhile(run: readonly PlannedFragment[], policy: CompactionPolicy): PlannedFragment[][] {
  if (policy.growth === 0) return run.length >= policy.fanIn || run.some((each) => isDirty(each, policy)) ? [[...run]] : []
  const groups: PlannedFragment[][] = []
  let rest: PlannedFragment[] = []
  const end = (): void => {
    groups.push(...levelled(rest, policy))
    rest = []
  }
  for (const fragment of run) {
    if (isDirty(fragment, policy)) {
      end()
      groups.push([fragment])
    } else rest.push(fragment)
  }
  end()
  return groups
}

/** The longest stretches of neighbours that grow enough, smallest levels first. */
function levelled(run: readonly PlannedFragment[], policy: CompactionPolicy): PlannedFragment[][] {
  const taken = new Set<PlannedFragment>()
  const groups: PlannedFragment[][] = []
  for (const level of [...new Set(run.map(levelOf))].sort((a, b) => a - b)) {
    let stretch: PlannedFragment[] = []
    const end = (): void => {
      if (growsEnough(stretch, policy)) {
        groups.push(stretch)
        for (const each of stretch) taken.add(each)
      }
      stretch = []
    }
    for (const fragment of run) {
      if (taken.has(fragment) || levelOf(fragment) > level) end()
      else stretch.push(fragment)
    }
    end()
  }
  return groups
}

function keyedGroups({ fragments, targetRows }: TableShape, policy: CompactionPolicy): PlannedFragment[][] {
  const dirty = fragments.filter((each) => isDirty(each, policy))
  const small = fragments.filter((each) => isSmall(each, targetRows) && !isDirty(each, policy)).sort((a, b) => live(a) - live(b))
  if (policy.growth === 0) {
    const members = [...dirty, ...small]
    return members.length >= policy.fanIn || dirty.length > 0 ? [members] : []
  }
  const groups = dirty.map((each) => [each])
  for (let count = small.length; count >= policy.fanIn; count--) {
    const members = small.slice(0, count)
    if (growsEnough(members, policy)) return [...groups, members]
  }
  return groups
}

function growsEnough(members: readonly PlannedFragment[], { fanIn, growth }: CompactionPolicy): boolean {
  return members.length >= fanIn && liveRows(members) >= growth * Math.max(...members.map(live))
}

/** By the first key, each stretch of overlapping fragments a segment, none with more rows in memory at a time than a merge may hold. */
function segmentsOf(members: readonly PlannedFragment[], mergeRows: number): PlannedFragment[][] {
  const ordered = members.toSorted((a, b) => compareBounds(a.min, b.min) || a.lsn - b.lsn || a.ordinal - b.ordinal)
  const segments: PlannedFragment[][] = []
  let segment: PlannedFragment[] = []
  let upto: StatValue | undefined
  let resident = 0
  for (const member of ordered) {
    const rows = residentRows(member)
    const isApart = segment.length > 0 && upto !== undefined && member.min !== undefined && compareBounds(member.min, upto) > 0
    if (segment.length > 0 && (isApart || resident + rows > mergeRows)) {
      segments.push(segment)
      segment = []
      resident = 0
    }
    upto =
      segment.length === 0 ? member.max : upto === undefined || member.max === undefined ? undefined : compareBounds(upto, member.max) > 0 ? upto : member.max
    segment.push(member)
    resident += rows
  }
  if (segment.length > 0) segments.push(segment)
  return segments
}

/** Rows of a record batch: of a sorted fragment one is in memory at a time. */
const BATCH_ROWS = 65_536

function residentRows({ rows, isSorted }: PlannedFragment): number {
  return isSorted ? Math.min(rows, BATCH_ROWS) : rows
}

/** What is not known comes first. */
function compareBounds(a: StatValue | undefined, b: StatValue | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? -1 : 1
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    const shared = Math.min(a.length, b.length)
    for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
    return a.length - b.length
  }
  return a < b ? -1 : a > b ? 1 : 0
}

function isSmall(fragment: PlannedFragment, targetRows: number): boolean {
  return live(fragment) < targetRows / 2
}

function isDirty(fragment: PlannedFragment, { deletedShare }: CompactionPolicy): boolean {
  return fragment.hidden > deletedShare * fragment.rows
}

function live({ rows, hidden }: PlannedFragment): number {
  return rows - hidden
}

function liveRows(members: readonly PlannedFragment[]): number {
  return members.reduce((sum, member) => sum + live(member), 0)
}

/** Powers of eight. */
function levelOf(fragment: PlannedFragment): number {
  return Math.floor(Math.log2(Math.max(1, live(fragment))) / 3)
}
