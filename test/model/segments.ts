// Model of the life of segments (log.md sections 2 and 3; bindings/log/segment-log.ts, repair-tail.ts, segment-writer.ts, segment-pool.ts, examine.ts, tail.ts):
// one process at a time, killed or cut off at every step, a sync that fails and turns its pages clean, names that wait for a directory sync.
//
// A file is a row of cells: header, frames, footer; a cell is written and lost as one. A frame is <seed><F or f><lsn>, F with the synced-before bit; the seed is
// that of the file's present use. Of what is not synced, every subset of cells and directory entries survives a power cut.
import type { Model } from './explore.ts'

/** The rules; each can be left out, to see that the checker needs it. */
export interface SegmentRules {
  /** An open writes everything since the last synced-before bit again before it relies on it. */
  readonly rewrites: boolean
  /** An open syncs the directory before it builds on the names in it. */
  readonly syncsNames: boolean
  /** A segment is written and synced before it gets its name. */
  readonly bornWhole: boolean
  /** The directory is synced before the birth is acknowledged. */
  readonly syncsBirth: boolean
  /** The old segment's footer and records are synced before the next one gets its name. */
  readonly sealsFirst: boolean
  /** Everything before a footer is synced before it is written: it carries the synced-before bit. */
  readonly syncsBeforeFooter: boolean
  /** The synced-before bit is set only when it is true. */
  readonly honestBit: boolean
  /** Only a later frame with the bit makes a torn tail damage. */
  readonly bitDecides: boolean
  /** A recycled file is used only after its new name is durable. */
  readonly syncsRecycled: boolean
  /** A group is acknowledged after its sync. */
  readonly acksSynced: boolean
  /** CLEAN is written after the footer it names is synced. */
  readonly cleanLast: boolean
  /** A checkpoint waits for the sync of what it covers. */
  readonly checkpointWaits: boolean
}

export const SEGMENT_RULES: SegmentRules = {
  rewrites: true,
  syncsNames: true,
  bornWhole: true,
  syncsBirth: true,
  sealsFirst: true,
  syncsBeforeFooter: true,
  honestBit: true,
  bitDecides: true,
  syncsRecycled: true,
  acksSynced: true,
  cleanLast: true,
  checkpointWaits: true,
}

export interface SegmentBounds {
  readonly title: string
  readonly durability: 'synced' | 'buffered'
  readonly opens: number
  /** Groups of two records, of all handles together. */
  readonly groups: number
  readonly rolls: number
  readonly trims: number
  readonly kills: number
  readonly powerCuts: number
  readonly failedSyncs: number
  readonly closes: number
}

interface File {
  /** What a reader sees, what the disk has, and which cells are to be written by the next sync. */
  now: string[]
  disk: string[]
  dirty: boolean[]
}

export interface SegmentState {
  files: File[]
  /** Name to file: as seen, as on disk, and the changes in between, in order. */
  names: Record<string, number>
  durableNames: Record<string, number>
  entries: { name: string; file: number }[]
  /** Seed of the segment that holds each acknowledged LSN. */
  acked: number[]
  /** LSNs up to here were synced when they were acknowledged, or since. */
  ackedSynced: number
  clean: { lsn: number; name: string; cell: number }
  checkpoint: number
  phase: string
  /** Steps that the phase `sync` and others come back to. */
  file: number
  cell: number
  lsn: number
  synced: number
  seeds: number
  next: string
  free: number[]
  own: string[]
  opensLeft: number
  groupsLeft: number
  rollsLeft: number
  trimsLeft: number
  killsLeft: number
  cutsLeft: number
  failsLeft: number
  closesLeft: number
  wrong: string
}

const CELLS = 8
const NONE = -1

type Effect = (s: SegmentState) => void

export function segmentModel(bounds: SegmentBounds, rules: SegmentRules = SEGMENT_RULES): Model<SegmentState> {
  return {
    name: `segments (${bounds.title})`,
    start: {
      files: [],
      names: {},
      durableNames: {},
      entries: [],
      acked: [],
      ackedSynced: 0,
      clean: { lsn: 0, name: '', cell: 0 },
      checkpoint: 0,
      ...idle(),
      seeds: 0,
      opensLeft: bounds.opens,
      groupsLeft: bounds.groups,
      rollsLeft: bounds.rolls,
      trimsLeft: bounds.trims,
      killsLeft: bounds.kills,
      cutsLeft: bounds.powerCuts,
      failsLeft: bounds.failedSyncs,
      closesLeft: bounds.closes,
      wrong: '',
    },
    steps(state, step) {
      for (const [label, effect] of moves(state, bounds, rules)) step(label, effect)
      if (state.killsLeft > 0 && state.phase !== 'idle') {
        step(`killed (before ${state.phase})`, (s) => {
          s.killsLeft--
          Object.assign(s, idle())
        })
      }
      if (state.cutsLeft > 0 && state.phase !== 'idle') powerCuts(state, step)
    },
    check: (state) => (state.wrong === '' ? undefined : state.wrong),
  }
}

function idle(): Pick<SegmentState, 'phase' | 'file' | 'cell' | 'lsn' | 'synced' | 'next' | 'free' | 'own'> {
  return { phase: 'idle', file: NONE, cell: 0, lsn: 0, synced: 0, next: '', free: [], own: [] }
}

function* moves(state: SegmentState, bounds: SegmentBounds, rules: SegmentRules): Generator<[string, Effect], void> {
  switch (state.phase) {
    case 'idle':
      if (state.opensLeft > 0) {
        yield [
          'opens: unlinks free files', // openLocked: unlinkFree
          (s) => {
            s.opensLeft--
            for (const name of Object.keys(s.names)) if (name.startsWith('free')) entry(s, name, NONE)
            s.phase = rules.syncsNames ? 'syncNames' : 'examine'
          },
        ]
      }
      return
    case 'syncNames': // openLocked: syncDir
      yield [
        'syncs the directory',
        (s) => {
          syncDir(s)
          s.phase = 'examine'
        },
      ]
      return
    case 'examine':
      yield ['reads the log', (s) => examine(s, rules)]
      return
    case 'rewrite': // repair-tail.ts: rewrite
      yield [
        'writes the last group again',
        (s) => {
          const file = s.files[s.file]!
          const from = file.now.findLastIndex((cell, i) => i < s.cell && /F|H/.test(cell))
          if (rules.rewrites) for (let cell = from; cell < s.cell; cell++) file.dirty[cell] = true
          s.phase = 'sync'
          s.next = /E/.test(file.now[s.cell - 1] ?? '') ? 'birth' : 'footer'
        },
      ]
      return
    case 'footer': // repair-tail.ts, SegmentWriter.#seal
      yield [
        'writes the footer',
        (s) => {
          write(s, s.file, s.cell, `${seedOf(s, s.file)}E${s.lsn}`)
          s.phase = 'sync'
          s.next = 'birth'
        },
      ]
      return
    case 'sync':
      yield* syncs(state, (s) => {
        s.synced = s.lsn
        s.phase = s.next
      })
      return
    case 'birth': // SegmentPool.take, SegmentWriter.#birth
      yield [
        state.free.length > 0 ? 'writes a birth into a recycled file' : 'writes a birth into a new file',
        (s) => {
          const before = s.file === NONE ? 0 : seedOf(s, s.file)
          const file = s.free.shift() ?? s.files.length
          if (file === s.files.length) {
            s.files.push({ now: zeros(), disk: zeros(), dirty: zeros().map(() => false) })
            entry(s, 'free0', file)
          }
          const seed = ++s.seeds
          write(s, file, 0, `${seed}H${s.lsn + 1}<${before}`)
          write(s, file, 1, `${seed}F${s.lsn + 1}`)
          s.file = file
          s.phase = rules.bornWhole ? 'sync' : 'link'
          s.next = 'link'
        },
      ]
      return
    case 'link': // SegmentPool.giveName
      yield [
        `links segment ${state.lsn + 1}`,
        (s) => {
          const name = String(s.lsn + 1)
          if (s.names[name] !== undefined) s.wrong = `segment ${name} is there already`
          entry(s, name, s.file)
          s.phase = rules.syncsBirth ? 'syncBirth' : 'born'
        },
      ]
      return
    case 'syncBirth': // DirRoot.link: syncDir
      yield [
        'syncs the directory',
        (s) => {
          syncDir(s)
          s.phase = 'born'
        },
      ]
      return
    case 'born':
      yield [
        'acknowledges the birth and unlinks the free name',
        (s) => {
          for (const [name, file] of Object.entries(s.names)) if (name.startsWith('free') && file === s.file) entry(s, name, NONE)
          s.own.push(String(s.lsn + 1))
          s.lsn++
          s.cell = 2
          s.synced = s.lsn
          if (!rules.bornWhole) sync(s, s.file)
          s.phase = 'ready'
          acknowledge(s, true)
        },
      ]
      return
    case 'ready':
      yield* readyMoves(state, bounds, rules)
      return
    case 'groupSync':
      yield* syncs(state, (s) => {
        s.synced = s.lsn
        s.phase = 'ready'
        acknowledge(s, true)
      })
      return
    case 'trimSync': // DirRoot.rename: syncDir
      yield [
        'syncs the directory',
        (s) => {
          syncDir(s)
          s.phase = 'ready'
        },
      ]
      return
    case 'rollFooter':
      yield [
        'writes the footer of the segment it leaves',
        (s) => {
          write(s, s.file, s.cell, `${seedOf(s, s.file)}E${s.lsn}`)
          s.phase = 'sync'
          s.next = 'birth'
        },
      ]
      return
    case 'closeFooter':
      yield [
        'writes the footer',
        (s) => {
          write(s, s.file, s.cell, `${seedOf(s, s.file)}E${s.lsn}`)
          s.cell++
          s.phase = rules.cleanLast ? 'closeSync' : 'clean'
        },
      ]
      return
    case 'closeSync':
      yield* syncs(state, (s) => {
        s.synced = s.lsn
        s.ackedSynced = s.acked.length
        s.phase = rules.cleanLast ? 'clean' : 'idle'
        if (!rules.cleanLast) Object.assign(s, idle())
      })
      return
    case 'clean': // SegmentWriteLog.#closeCleanly
      yield [
        'writes CLEAN',
        (s) => {
          writeClean(s)
          if (rules.cleanLast) Object.assign(s, idle())
          else s.phase = 'closeSync'
        },
      ]
  }
}

function* readyMoves(state: SegmentState, bounds: SegmentBounds, rules: SegmentRules): Generator<[string, Effect], void> {
  const synced = bounds.durability === 'synced'
  if (state.groupsLeft > 0 && state.cell + 3 <= CELLS) {
    yield [
      `writes records ${state.lsn + 1} and ${state.lsn + 2}`,
      (s) => {
        s.groupsLeft--
        const seed = seedOf(s, s.file)
        const bit = s.synced >= s.lsn || !rules.honestBit ? 'F' : 'f'
        write(s, s.file, s.cell++, `${seed}${bit}${++s.lsn}`)
        write(s, s.file, s.cell++, `${seed}f${++s.lsn}`)
        if (!rules.acksSynced) {
          s.synced = s.lsn
          acknowledge(s, true)
        } else if (synced) s.phase = 'groupSync'
        else acknowledge(s, false)
      },
    ]
  }
  if (!synced && state.synced < state.lsn) {
    yield* syncs(state, (s) => {
      s.synced = s.lsn
      s.ackedSynced = s.acked.length
    })
  }
  if (state.rollsLeft > 0 && state.synced >= (synced ? state.lsn : 0)) {
    yield [
      'rolls',
      (s) => {
        s.rollsLeft--
        if (rules.sealsFirst) beforeFooter(s, 'rollFooter', rules)
        else s.phase = 'birth'
      },
    ]
  }
  const segments = listed(state)
  if (state.trimsLeft > 0 && segments.length > 1 && state.checkpoint >= segments[1]! - 1) {
    const oldest = String(segments[0])
    yield [
      `trims segment ${oldest}${state.own.includes(oldest) ? ' into a free file' : ''}`,
      (s) => {
        s.trimsLeft--
        const file = s.names[oldest]!
        entry(s, oldest, NONE)
        if (s.own.includes(oldest)) {
          entry(s, `free${file + 1}`, file)
          s.free.push(file)
          if (rules.syncsRecycled) s.phase = 'trimSync'
        }
      },
    ]
  }
  if (state.trimsLeft > 0 && state.checkpoint < state.lsn && (state.synced >= state.lsn || !rules.checkpointWaits)) {
    yield [
      `writes a checkpoint at ${state.lsn}`,
      (s) => {
        s.checkpoint = s.lsn
      },
    ]
  }
  if (state.closesLeft > 0) {
    yield [
      'closes',
      (s) => {
        s.closesLeft--
        beforeFooter(s, 'closeFooter', rules)
      },
    ]
  }
}

function beforeFooter(s: SegmentState, then: string, rules: SegmentRules): void {
  s.phase = s.synced < s.lsn && rules.syncsBeforeFooter ? 'sync' : then
  s.next = then
}

function* syncs(state: SegmentState, then: Effect): Generator<[string, Effect], void> {
  yield [
    'syncs the file',
    (s) => {
      sync(s, s.file)
      then(s)
    },
  ]
  if (state.failsLeft > 0 && state.files[state.file]!.dirty.includes(true)) {
    yield [
      'its sync fails; the pages turn clean', // PoisonedError: the handle ends
      (s) => {
        s.failsLeft--
        s.files[s.file]!.dirty.fill(false)
        Object.assign(s, idle())
      },
    ]
  }
}

// ---- files and names ----

function zeros(): string[] {
  return Array.from({ length: CELLS }, () => '')
}

function write(s: SegmentState, file: number, cell: number, value: string): void {
  const { now, dirty } = s.files[file]!
  now[cell] = value
  dirty[cell] = true
}

function sync(s: SegmentState, at: number): void {
  const file = s.files[at]!
  file.dirty.forEach((isDirty, cell) => {
    if (isDirty) file.disk[cell] = file.now[cell]!
  })
  file.dirty.fill(false)
}

function seedOf(s: SegmentState, file: number): number {
  return Number(/^(\d+)H/.exec(s.files[file]!.now[0]!)![1])
}

function entry(s: SegmentState, name: string, file: number): void {
  if (file === NONE) delete s.names[name]
  else s.names[name] = file
  s.entries.push({ name, file })
}

function syncDir(s: SegmentState): void {
  s.durableNames = { ...s.names }
  s.entries = []
}

function listed(s: SegmentState): number[] {
  return Object.keys(s.names)
    .filter((name) => !name.startsWith('free'))
    .map(Number)
    .sort((a, b) => a - b)
}

function powerCuts(state: SegmentState, step: (label: string, effect: Effect) => void): void {
  const cells = state.files.flatMap((file, f) => file.dirty.flatMap((isDirty, cell) => (isDirty && file.now[cell] !== file.disk[cell] ? [{ f, cell }] : [])))
  const doubts = cells.length + state.entries.length
  for (let mask = 0; mask < 1 << doubts; mask++) {
    const kept = [
      ...cells.map(({ f, cell }) => state.files[f]!.now[cell]!),
      ...state.entries.map(({ name, file }) => `${file === NONE ? '-' : '+'}${name}`),
    ].filter((_, i) => (mask & (1 << i)) !== 0)
    step(`power cut (before ${state.phase}); of what was unsynced [${kept.join()}] is there`, (s) => {
      s.cutsLeft--
      cells.forEach(({ f, cell }, i) => {
        if ((mask & (1 << i)) !== 0) s.files[f]!.disk[cell] = s.files[f]!.now[cell]!
      })
      state.entries.forEach(({ name, file }, i) => {
        if ((mask & (1 << (cells.length + i))) === 0) return
        if (file === NONE) delete s.durableNames[name]
        else s.durableNames[name] = file
      })
      for (const file of s.files) {
        file.now = [...file.disk]
        file.dirty.fill(false)
      }
      s.names = { ...s.durableNames }
      s.entries = []
      s.acked = s.acked.slice(0, s.ackedSynced)
      Object.assign(s, idle())
    })
  }
}

// ---- what is promised ----

function acknowledge(s: SegmentState, isSynced: boolean): void {
  // Whatever the log holds when something is acknowledged was shown to somebody.
  const log = contents(s)
  if (typeof log === 'string') {
    s.wrong = log
    return
  }
  for (const { lsn, seed } of log.records) s.acked[lsn - 1] ??= seed
  for (let i = 0; i < s.acked.length; i++) s.acked[i] ??= 0
  if (isSynced) s.ackedSynced = s.acked.length
}

function writeClean(s: SegmentState): void {
  s.clean = { lsn: s.lsn, name: String(listed(s).at(-1)), cell: s.cell }
}

interface Contents {
  readonly records: { lsn: number; seed: number }[]
  readonly last: number
  /** The newest segment: its file, the cell behind its last record or footer, whether CLEAN names its footer. */
  readonly file: number
  readonly end: number
  readonly sealed: boolean
}

/** examine.ts and tail.ts: the log as it is read, or why it is damaged. */
function contents(s: SegmentState, bitDecides = true): Contents | string {
  const firsts = listed(s)
  const records: { lsn: number; seed: number }[] = []
  if (firsts.length === 0) return { records, last: 0, file: NONE, end: 0, sealed: false }
  if (firsts[0]! - 1 > s.checkpoint) return `the log begins after ${firsts[0]! - 1}, the checkpoint is at ${s.checkpoint}`
  let before = 0
  for (const [i, first] of firsts.entries()) {
    const file = s.names[first]!
    const cells = s.files[file]!.now
    const header = /^(\d+)H(\d+)<(\d+)$/.exec(cells[0]!)
    if (header === null || Number(header[2]) !== first) return `segment ${first} has no header of its own`
    const seed = Number(header[1])
    if (i > 0 && Number(header[3]) !== before) return `segment ${first} does not follow the one before`
    before = seed
    const until = i + 1 < firsts.length ? firsts[i + 1]! - 1 : Infinity
    let lsn = first
    let cell = 1
    for (; lsn <= until && (cells[cell] === `${seed}F${lsn}` || cells[cell] === `${seed}f${lsn}`); cell++) records.push({ lsn: lsn++, seed })
    if (until !== Infinity) {
      if (lsn <= until) return `segment ${first} ends at ${lsn - 1}, the next begins at ${until + 1}`
      continue
    }
    if (lsn === first) return `the first group of segment ${first} is gone`
    const sealed = cells[cell] === `${seed}E${lsn - 1}`
    if (!sealed) {
      const later = cells.slice(cell).some((value) => {
        const frame = /^(\d+)([FfE])(\d+)$/.exec(value)
        return frame !== null && Number(frame[1]) === seed && Number(frame[3]) >= lsn && (frame[2] !== 'f' || !bitDecides)
      })
      if (later) return `segment ${first}: damage before a frame that says that all before it was synced`
    }
    const end = sealed ? cell + 1 : cell
    const last = lsn - 1
    if (s.clean.name === String(first) && !(sealed && s.clean.lsn === last && s.clean.cell === end))
      return `CLEAN names a footer of segment ${first} that is not there`
    if (last < s.clean.lsn) return `the log ends at ${last}, CLEAN says ${s.clean.lsn}`
    if (last < s.checkpoint) return `the log ends at ${last}, the checkpoint is at ${s.checkpoint}`
    return { records, last, file, end, sealed }
  }
  throw new Error('unreachable')
}

function examine(s: SegmentState, rules: SegmentRules): void {
  const log = contents(s, rules.bitDecides)
  if (typeof log === 'string') {
    s.wrong = `an open fails: ${log}`
    return
  }
  const at = new Map(log.records.map(({ lsn, seed }) => [lsn, seed]))
  const tail = (listed(s)[0] ?? 1) - 1
  for (const [i, seed] of s.acked.entries()) {
    if (i + 1 > tail && at.get(i + 1) !== seed) {
      s.wrong = `acknowledged record ${i + 1} is lost`
      return
    }
  }
  s.file = log.file
  s.cell = log.end
  s.lsn = log.last
  if (log.file === NONE || s.clean.name === String(listed(s).at(-1))) s.phase = 'birth'
  else s.phase = 'rewrite'
}
