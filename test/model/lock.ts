// Model of the numbered LOCK (bindings/log/lock.ts, log.md section 3) and of what its owner does under it (segment-log.ts, segment-pool.ts): several openers,
// kills at every step, right and wrong guesses whether an owner is dead.
//
// One step = one call on the root, with the synchronous code behind it: `isCurrent()` looks at the file at the moment the call before it came back. The names
// of the phases are the calls that come next. Replayed against the code by lock.test.ts.
import type { Model } from './explore.ts'

/** The rules; each can be left out, to see that the checker needs it. */
export interface LockRules {
  /** After creating its number an opener lists again. */
  readonly looks: boolean
  /** A group is acknowledged, and a name given, only after a look at the own LOCK. */
  readonly checks: boolean
  /** The look asks for the very file that was created, not for its name. */
  readonly identity: boolean
  /** Lower numbers go before the log is read. */
  readonly clearsFirst: boolean
  /** A close marks the highest number as released instead of removing it. */
  readonly keepsHighest: boolean
  /** The epochs that log and NODE state are read before the LOCK. */
  readonly floorFirst: boolean
  /** An open unlinks prepared files before it lists the log. */
  readonly unlinksFree: boolean
}

export const LOCK_RULES: LockRules = {
  looks: true,
  checks: true,
  identity: true,
  clearsFirst: true,
  keepsHighest: true,
  floorFirst: true,
  unlinksFree: true,
}

export interface LockBounds {
  readonly openers: number
  /** Opens of each. */
  readonly opens: number
  /** Groups that each owner appends behind its epoch record. */
  readonly appends: number
  readonly kills: number
  /** How often an owner that lives is taken for dead. */
  readonly wrongGuesses: number
  /** Openers are alike: states that differ in who is who count once. Schedules are readable without. */
  readonly symmetric?: boolean
}

export type Phase =
  | 'idle'
  | 'floor'
  | 'list'
  | 'read'
  | 'create'
  | 'hold'
  | 'verify'
  | 'relist'
  | 'clear'
  | 'abandon'
  | 'winner'
  | 'unlinkFree'
  | 'scan'
  | 'node'
  | 'prepare'
  | 'birth'
  | 'link'
  | 'linked'
  | 'ready'
  | 'sync'
  | 'release'

export interface LockProc {
  phase: Phase
  /** Counts the processes that ran in this place. */
  life: number
  opensLeft: number
  appendsLeft: number
  floor: number
  highest: number
  /** Of the LOCK it creates or holds; 0 = none. */
  number: number
  /** The file it created. */
  file: number
  /** The file its descriptor leads to. */
  held: number
  /** Lower numbers seen by the second look. */
  lower: number[]
  /** Last LSN of the log as it read it. */
  last: number
  /** Its prepared file has a name. */
  free: boolean
}

export interface LockState {
  procs: LockProc[]
  /** LOCK.<n>, by number; `by` < 0 = released. */
  locks: { n: number; file: number; by: number; life: number }[]
  filesMade: number
  /** epochSeen of NODE. */
  node: number
  /** Groups written, and acknowledged. */
  segments: { first: number; epoch: number; groups: number; acked: number }[]
  lastOwned: number
  killsLeft: number
  wrongLeft: number
  wrong: string
}

/** It has the LOCK, as far as it knows. */
export const OWNER: ReadonlySet<Phase> = new Set(['unlinkFree', 'scan', 'node', 'prepare', 'birth', 'link', 'linked', 'ready', 'sync'])

export function lockModel(bounds: LockBounds, rules: LockRules = LOCK_RULES): Model<LockState> {
  const proc: LockProc = { ...fresh(), life: 0, opensLeft: bounds.opens }
  const model: Model<LockState> = {
    name: `LOCK (${bounds.openers} openers, ${bounds.opens} opens each, ${bounds.kills} kills, ${bounds.wrongGuesses} wrong guesses)`,
    start: {
      procs: Array.from({ length: bounds.openers }, () => ({ ...proc, lower: [] })),
      locks: [],
      filesMade: 0,
      node: 0,
      segments: [],
      lastOwned: 0,
      killsLeft: bounds.kills,
      wrongLeft: bounds.wrongGuesses,
      wrong: '',
    },
    steps(state, step) {
      state.procs.forEach((proc, i) => {
        const who = 'ABCD'[i]!
        for (const [label, effect] of moves(proc, i, bounds, rules)) step(`${who} ${label}`, (draft) => effect(draft, draft.procs[i]!))
        if (state.killsLeft > 0 && proc.phase !== 'idle') {
          step(`${who} is killed (before ${proc.phase})`, (draft) => {
            draft.killsLeft--
            draft.procs[i] = { ...fresh(), life: proc.life + 1, opensLeft: proc.opensLeft, free: proc.free }
          })
        }
      })
    },
    check(state) {
      if (state.wrong !== '') return state.wrong
      const owners = state.procs.filter((proc) => OWNER.has(proc.phase) && isCurrent(state, proc, rules))
      if (owners.length > 1) return 'two owners whose look at their LOCK would pass'
      if (bounds.wrongGuesses === 0 && state.procs.some((proc) => OWNER.has(proc.phase) && !isCurrent(state, proc, rules)))
        return 'a living owner lost its LOCK'
      if (state.procs.every((proc) => proc.phase === 'idle')) return openAlone(state, rules)
      return undefined
    },
    ...(bounds.symmetric === true ? { canonical } : {}),
  }
  return model
}

function fresh(): Omit<LockProc, 'life' | 'opensLeft'> {
  return { phase: 'idle', appendsLeft: 0, floor: 0, highest: 0, number: 0, file: 0, held: 0, lower: [], last: 0, free: false }
}

type Effect = (s: LockState, p: LockProc) => boolean | void

/** The next steps of a process. */
function* moves(proc: LockProc, i: number, bounds: Pick<LockBounds, 'appends'>, rules: LockRules): Generator<[string, Effect], void> {
  switch (proc.phase) {
    case 'idle':
      if (proc.opensLeft === 0) return
      yield [
        'opens',
        (_, p) => {
          p.opensLeft--
          p.phase = begin(rules)
          p.appendsLeft = bounds.appends
        },
      ]
      return
    case 'floor': // tryLock: epochFloor()
      yield [
        'reads the epoch that NODE and log state',
        (s, p) => {
          p.floor = Math.max(s.node, ...s.segments.map(({ epoch }) => epoch))
          p.phase = rules.floorFirst ? 'list' : 'create'
          if (!rules.floorFirst) p.number = 1 + Math.max(p.highest, p.floor)
        },
      ]
      return
    case 'list': // tryLock: lockNumbers()
      yield [
        'lists LOCKs',
        (s, p) => {
          p.highest = Math.max(0, ...s.locks.map(({ n }) => n))
          if (p.highest > 0) p.phase = 'read'
          else propose(p, rules)
        },
      ]
      return
    case 'read': // tryLock: readLock(highest)
      yield [
        `reads LOCK.${proc.highest}`,
        (s, p) => {
          const lock = s.locks.find(({ n }) => n === p.highest)
          if (lock === undefined) p.phase = begin(rules)
          else if (lock.by < 0 || s.procs[lock.by]!.life !== lock.life) propose(p, rules)
          else end(p) // LockHeldError
        },
      ]
      yield [
        `reads LOCK.${proc.highest} and takes its living owner for dead`,
        (s, p) => {
          const lock = s.locks.find(({ n }) => n === p.highest)
          const can = s.wrongLeft > 0 && lock !== undefined && lock.by >= 0 && s.procs[lock.by]!.life === lock.life
          if (!can) return false
          s.wrongLeft--
          propose(p, rules)
          return true
        },
      ]
      return
    case 'create': // tryLock: putIfAbsent
      yield [
        `creates LOCK.${proc.number}`,
        (s, p) => {
          if (s.locks.some(({ n }) => n === p.number)) return void (p.phase = begin(rules))
          p.file = ++s.filesMade
          s.locks.push({ n: p.number, file: p.file, by: i, life: p.life })
          s.locks.sort((a, b) => a.n - b.n)
          p.phase = 'hold'
        },
      ]
      return
    case 'hold': // holdOurs: root.hold
      yield [
        `opens LOCK.${proc.number}`,
        (s, p) => {
          const lock = s.locks.find(({ n }) => n === p.number)
          p.held = lock?.file ?? 0
          p.phase = lock === undefined ? begin(rules) : 'verify'
        },
      ]
      return
    case 'verify': // holdOurs: readLock, isCurrent
      yield [
        `reads its nonce back from LOCK.${proc.number}`,
        (s, p) => {
          const lock = s.locks.find(({ n }) => n === p.number)
          if (lock === undefined || lock.file !== p.file || !isCurrent(s, p, rules)) p.phase = begin(rules)
          else if (rules.looks) p.phase = 'relist'
          else own(s, p, rules)
        },
      ]
      return
    case 'relist': // tryLock: lockNumbers again, isCurrent
      yield [
        'lists LOCKs again',
        (s, p) => {
          const top = Math.max(0, ...s.locks.map(({ n }) => n))
          p.highest = top
          if (top === p.number && isCurrent(s, p, rules)) {
            p.lower = s.locks.flatMap(({ n }) => (n < p.number ? [n] : []))
            if (!rules.clearsFirst || p.lower.length === 0) own(s, p, rules)
            else p.phase = 'clear'
          } else if (isCurrent(s, p, rules)) p.phase = 'abandon'
          else p.phase = top <= p.number ? begin(rules) : 'winner'
        },
      ]
      return
    case 'clear': // removeBelow
      yield [
        `removes LOCK.${proc.lower[0]}`,
        (s, p) => {
          remove(s, p.lower.shift()!)
          if (p.lower.length > 0) return
          if (rules.clearsFirst) own(s, p, rules)
          else p.phase = 'node'
        },
      ]
      return
    case 'abandon': // Lock.abandon: the look was at the end of the step before
      yield [
        `removes its LOCK.${proc.number}`,
        (s, p) => {
          remove(s, p.number)
          p.phase = p.highest <= p.number ? begin(rules) : 'winner'
        },
      ]
      return
    case 'winner': // tryLock: readLock(top)
      yield [
        `reads LOCK.${proc.highest}`,
        (s, p) => {
          const lock = s.locks.find(({ n }) => n === p.highest)
          if (lock === undefined || lock.by < 0) p.phase = begin(rules)
          else end(p) // LockHeldError
        },
      ]
      return
    case 'unlinkFree': // openLocked: unlinkFree
      yield [
        'unlinks prepared files',
        (s, p) => {
          if (rules.unlinksFree) for (const other of s.procs) if (other !== p) other.free = false
          p.phase = 'scan'
        },
      ]
      return
    case 'scan': // openLocked: examine, check
      yield [
        'reads the log',
        (s, p) => {
          const newest = s.segments.at(-1)
          p.last = newest === undefined ? 0 : newest.first + newest.groups - 1
          if (rules.checks && !isCurrent(s, p, rules)) giveBack(s, p, rules)
          else p.phase = rules.clearsFirst || p.lower.length === 0 ? 'node' : 'clear'
        },
      ]
      return
    case 'node': // openLocked: putNode
      yield [
        'writes NODE',
        (s, p) => {
          s.node = p.number
          if (rules.checks && !isCurrent(s, p, rules)) giveBack(s, p, rules)
          else p.phase = 'prepare'
        },
      ]
      return
    case 'prepare': // SegmentPool.#create
      yield [
        'prepares a file',
        (_, p) => {
          p.free = true
          p.phase = 'birth'
        },
      ]
      return
    case 'birth': // SegmentWriter.#birth, then the look in giveName
      yield [
        'writes and syncs its epoch record there',
        (s, p) => {
          if (rules.checks && !isCurrent(s, p, rules)) giveBack(s, p, rules)
          else p.phase = 'link'
        },
      ]
      return
    case 'link': // SegmentPool.giveName: root.link
      yield [
        `links the segment of LSN ${proc.last + 1}`,
        (s, p) => {
          if (!p.free) return giveBack(s, p, rules) // notFound: a successor unlinked it
          if (s.segments.some(({ first }) => first === p.last + 1)) {
            if (isCurrent(s, p, rules)) s.wrong = 'a segment of that name is there although the LOCK is ours'
            return giveBack(s, p, rules)
          }
          if (s.segments.some(({ epoch }) => epoch >= p.number)) s.wrong = `epoch ${p.number} is used twice, or after a higher one`
          const newest = s.segments.at(-1)
          if (newest !== undefined && newest.first + newest.acked - 1 > p.last)
            s.wrong = `an acknowledged group of epoch ${newest.epoch} is not part of the log`
          p.free = false
          s.segments.push({ first: p.last + 1, epoch: p.number, groups: 1, acked: 0 })
          p.phase = 'linked'
        },
      ]
      return
    case 'linked': // SegmentWriter.#roll and #finish: the look behind the birth
      yield [
        'looks at its LOCK and acknowledges its epoch record',
        (s, p) => {
          acknowledge(s, p, 1, rules)
        },
      ]
      return
    case 'ready':
      if (proc.appendsLeft > 0) {
        yield [
          'writes a group',
          (s, p) => {
            p.appendsLeft--
            s.segments.find(({ epoch }) => epoch === p.number)!.groups++
            p.phase = 'sync'
          },
        ]
      }
      yield [
        'closes',
        (s, p) => {
          giveBack(s, p, rules)
        },
      ]
      return
    case 'sync': // SegmentWriter.#finish
      yield [
        'looks at its LOCK and acknowledges the group',
        (s, p) => {
          acknowledge(s, p, s.segments.find(({ epoch }) => epoch === p.number)!.groups, rules)
        },
      ]
      return
    case 'release': // Lock.release: put
      yield [
        `marks LOCK.${proc.number} as released`,
        (s, p) => {
          remove(s, p.number)
          if (rules.keepsHighest) s.locks.push({ n: p.number, file: ++s.filesMade, by: -1, life: 0 })
          s.locks.sort((a, b) => a.n - b.n)
          end(p)
        },
      ]
      return
  }
}

function begin(rules: LockRules): Phase {
  return rules.floorFirst ? 'floor' : 'list'
}

function propose(p: LockProc, rules: LockRules): void {
  if (!rules.floorFirst) p.phase = 'floor'
  else {
    p.number = 1 + Math.max(p.highest, p.floor)
    p.phase = 'create'
  }
}

function own(s: LockState, p: LockProc, rules: LockRules): void {
  if (isCurrent(s, p, rules)) {
    if (p.number <= s.lastOwned) s.wrong = `LOCK.${p.number} is owned after LOCK.${s.lastOwned}`
    s.lastOwned = p.number
  }
  p.phase = 'unlinkFree'
  if (rules.clearsFirst) p.lower = []
}

function acknowledge(s: LockState, p: LockProc, group: number, rules: LockRules): void {
  if (rules.checks && !isCurrent(s, p, rules)) return giveBack(s, p, rules) // FencedError
  const at = s.segments.findIndex(({ epoch }) => epoch === p.number)
  const segment = s.segments[at]!
  const next = s.segments[at + 1]
  if (next !== undefined && segment.first + group > next.first) s.wrong = `group ${group} of epoch ${p.number} is acknowledged, the log went on without it`
  segment.acked = group
  p.phase = 'ready'
}

/** Lock.release, at a close and at an open that fails: the look. */
function giveBack(s: LockState, p: LockProc, rules: LockRules): void {
  if (isCurrent(s, p, rules)) p.phase = 'release'
  else end(p)
}

function end(p: LockProc): void {
  Object.assign(p, fresh(), { free: p.free })
}

function remove(s: LockState, number: number): void {
  s.locks = s.locks.filter(({ n }) => n !== number)
}

export function isCurrent(s: LockState, p: LockProc, rules: LockRules): boolean {
  const lock = s.locks.find(({ n }) => n === p.number)
  return lock !== undefined && (!rules.identity || lock.file === p.held)
}

/** When nobody runs, an open must succeed. */
function openAlone(state: LockState, rules: LockRules): string | undefined {
  const s = JSON.parse(JSON.stringify(state)) as LockState
  const index = s.procs.length
  s.procs.push({ ...fresh(), life: 0, opensLeft: 1 })
  for (let steps = 0; steps < 100; steps++) {
    const p = s.procs[index]!
    const next = moves(p, index, { appends: 0 }, rules).next()
    if (next.done === true) return 'an open alone fails'
    next.value[1](s, p)
    if (s.wrong !== '') return `an open alone: ${s.wrong}`
    if (p.phase === 'ready') return undefined
  }
  return 'an open alone does not end'
}

/** Openers sorted, files numbered in the order of their LOCKs. */
function canonical(s: LockState): void {
  const files = new Map<number, number>([[0, 0]])
  const rename = (file: number): number => {
    if (!files.has(file)) files.set(file, files.size)
    return files.get(file)!
  }
  for (const lock of s.locks) lock.file = rename(lock.file)
  const keys = s.procs.map((proc, i) => ({ i, key: JSON.stringify([proc.phase, proc.life, proc, s.locks.filter(({ by }) => by === i).map(({ n }) => n)]) }))
  keys.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  s.procs = keys.map(({ i }) => s.procs[i]!)
  const place = new Map(keys.map(({ i }, at) => [i, at]))
  for (const lock of s.locks) if (lock.by >= 0) lock.by = place.get(lock.by)!
  for (const proc of s.procs) {
    proc.file = rename(proc.file)
    proc.held = rename(proc.held)
  }
  s.filesMade = files.size
}
