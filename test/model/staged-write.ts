// Model of the life of staged writes (recovery.md sections 1-7 and 10): owners, sweepers and vacuum over one log, one staging area and one folder of content
// addresses; kills and a power cut at every step; right and wrong guesses whether an owner is alive.
//
// One step = one durable effect. An append is one step with its admission: both logs give that (queue or compare-and-set). Files are named <content><gen>.
// Phases A-D are bindings/staging (arm, put, promote, retire), bindings/write (seal, publish, rollback) and bindings/recovery (sweep, heal).
import type { Model } from './explore.ts'

/** The rules; each can be left out, to see that the checker needs it. */
export interface StagedRules {
  /** A record or seal that names a dead file is refused. */
  readonly refusesDead: boolean
  /** Names that the fold or a pending seal names by now are taken out of a vacuum record when it is appended. */
  readonly vacuumLooksAgain: boolean
  /** Files are deleted only behind the record that names them. */
  readonly vacuumRecords: boolean
  /** A write whose base is below the outcome floor gets no outcome any more. */
  readonly outcomeFloor: boolean
  /** A publish names the seal it publishes, and is refused when that is not the pending one. */
  readonly namesSeal: boolean
  /** A roll-back names the seal it was decided about, or none: a write that was sealed meanwhile is decided about again. */
  readonly rollbackNamesSeal: boolean
  /** The directories of targets that were there already are synced too. */
  readonly syncsExisting: boolean
  /** A target that is there is verified before it is relied on. */
  readonly verifies: boolean
  /** Names that are dead at the write's base are not used: that they are may be forgotten before the write is. */
  readonly avoidsDead: boolean
  /** Files are promoted before the record that names them. */
  readonly promotesFirst: boolean
  /** The outcome is in the log before anything of the write is deleted. */
  readonly decidesFirst: boolean
  /** INTENT is put before anything else of the write. */
  readonly armsFirst: boolean
  /** A pending seal protects the names in it from vacuum. */
  readonly sealProtects: boolean
  /** Object root: vacuum leaves what is not older than the oldest INTENT that is neither sealed nor decided. */
  readonly minds: boolean
  /** Object root: vacuum lists names, then INTENTs. */
  readonly namesFirst: boolean
  /** Object root: a write relies only on names that it created itself. */
  readonly ownNames: boolean
  /** Object root: after a put the log is read: a name that is dead by then is not used. */
  readonly confirms: boolean
  /** A vacuum that finds another's record behind its plan plans again. */
  readonly vacuumReplans: boolean
  /** A vacuum deletes names that were dead when it planned, but names them in no record: by then they may have come to life again. */
  readonly plansLive: boolean
}

export const STAGED_RULES: StagedRules = {
  refusesDead: true,
  vacuumLooksAgain: true,
  vacuumRecords: true,
  outcomeFloor: true,
  namesSeal: true,
  rollbackNamesSeal: true,
  syncsExisting: true,
  verifies: true,
  avoidsDead: true,
  promotesFirst: true,
  decidesFirst: true,
  armsFirst: true,
  sealProtects: true,
  minds: true,
  namesFirst: true,
  ownNames: true,
  confirms: true,
  vacuumReplans: true,
  plansLive: true,
}

export interface StagedBounds {
  readonly title: string
  readonly root: 'local' | 'object'
  /** Contents of the files of each write; writes with equal contents share names. */
  readonly writes: readonly (readonly string[])[]
  readonly modes: readonly ('fused' | 'separate')[]
  readonly sweepers: number
  /** Passes of each sweeper. */
  readonly passes: number
  readonly vacuums: number
  readonly kills: number
  readonly powerCuts: number
  /** How often a sweeper takes an owner that lives for dead. */
  readonly wrongGuesses: number
  /** Whether owners may roll back. */
  readonly aborts: boolean
  /** How often the term of outcomes and dead names passes. */
  readonly terms: number
  /** Where a generation that promotion chose is stated: in a second seal, or in the publish record (default: as the code does). */
  readonly generations?: 'seal' | 'publish'
  /** How often an owner computes the deletions of its sealed write again and seals them. */
  readonly rebases?: number
  /** What an earlier write left at x0. */
  readonly orphan?: 'good' | 'damaged'
}

type Outcome = 'published' | 'rolledBack'

interface LogRecord {
  k: 'commit' | 'seal' | 'publish' | 'rollback' | 'vacuum'
  /** Write, -1 for vacuum. */
  w: number
  names: string[]
  /** LSN of the seal that it speaks of: the one a publish publishes, a second seal replaces, a rollback takes back. */
  seal?: number
}

/** 1 = there, unsynced; 2 = there; 3 = removed, unsynced; absent = gone. */
type Entry = 1 | 2 | 3

interface Actor {
  kind: 'owner' | 'sweeper' | 'vacuum'
  phase: string
  /** Write that it is busy with. */
  w: number
  /** Place in a loop over files. */
  at: number
  /** Contents of its files, and the generation of the name of each. */
  files: string[]
  gens: number[]
  rebasesLeft: number
  /** LSN the write was prepared against, or of the seal that it promotes. */
  base: number
  list: string[]
  /** Dead when the write was armed. */
  avoids: string[]
  passesLeft: number
  /** What its caller hears; unknown = given and forgotten. */
  told: '' | Outcome | 'fenced' | 'unknown'
}

export interface StagedState {
  log: LogRecord[]
  outcomeFloor: number
  /** Per write: INTENT and files by content. */
  staging: Record<string, Entry>[]
  /** Under fragments/: synced or not; damaged or not; time of creation (object root). */
  names: Record<string, { synced: boolean; good: boolean; t: number }>
  /** Of the INTENTs (object root). */
  intentTimes: number[]
  bases: number[]
  now: number
  actors: Actor[]
  killsLeft: number
  cutsLeft: number
  wrongLeft: number
  termsLeft: number
  wrong: string
}

const INTENT = 'INTENT'
const NEVER = 1e9

export function stagedModel(bounds: StagedBounds, rules: StagedRules = STAGED_RULES): Model<StagedState> {
  const owners: Actor[] = bounds.writes.map((files, w) => ({
    ...actor('owner', 'arm'),
    w,
    files: [...files],
    gens: files.map(() => 0),
    rebasesLeft: bounds.rebases ?? 0,
  }))
  const sweepers: Actor[] = Array.from({ length: bounds.sweepers }, () => ({ ...actor('sweeper', 'idle'), passesLeft: bounds.passes }))
  const vacuums: Actor[] = Array.from({ length: bounds.vacuums }, () => ({ ...actor('vacuum', 'idle'), passesLeft: 1 }))
  return {
    name: `staged writes (${bounds.title})`,
    start: {
      log: [],
      outcomeFloor: 0,
      staging: bounds.writes.map(() => ({})),
      names: bounds.orphan === undefined ? {} : { x0: { synced: true, good: bounds.orphan === 'good', t: 0 } },
      intentTimes: bounds.writes.map(() => 0),
      bases: bounds.writes.map(() => 0),
      now: 0,
      actors: [...owners, ...sweepers, ...vacuums],
      killsLeft: bounds.kills,
      cutsLeft: bounds.powerCuts,
      wrongLeft: bounds.wrongGuesses,
      termsLeft: bounds.terms,
      wrong: '',
    },
    steps(state, step) {
      state.actors.forEach((a, i) => {
        const who = `${a.kind} ${i}`
        for (const [label, effect] of moves(state, a, bounds, rules)) {
          step(`${who} ${label}`, (draft) => {
            effect(draft, draft.actors[i]!)
            settle(draft.actors[i]!)
          })
        }
        if (state.killsLeft > 0 && a.phase !== 'idle' && a.phase !== 'end') {
          step(`${who} is killed (before: ${a.phase})`, (draft) => {
            draft.killsLeft--
            stop(draft.actors[i]!)
          })
        }
      })
      if (state.cutsLeft > 0) powerCuts(state, step)
      if (state.termsLeft > 0 && state.log.length > state.outcomeFloor) {
        step('the term of outcomes and dead names passes', (draft) => {
          // A vacuum deletes within the day that its look left it.
          if (draft.actors.some(({ kind, phase }) => kind === 'vacuum' && phase === 'delete')) return false
          draft.termsLeft--
          draft.outcomeFloor = draft.log.length
          return true
        })
      }
    },
    check: (state) => (state.wrong !== '' ? state.wrong : (invariant(state, bounds) ?? quietEnd(state, bounds, rules))),
  }
}

function actor(kind: Actor['kind'], phase: string): Actor {
  return { kind, phase, w: -1, at: 0, files: [], gens: [], rebasesLeft: 0, base: 0, list: [], avoids: [], passesLeft: 0, told: '' }
}

/** What an actor at rest does not need any more would only tell equal states apart. */
function settle(a: Actor): void {
  if (a.phase === 'idle' || a.phase === 'end') {
    Object.assign(a, { at: 0, list: [], avoids: [], base: 0, files: [], gens: [], rebasesLeft: 0 })
    if (a.kind !== 'owner') a.w = -1
    if (a.kind !== 'owner' && a.passesLeft === 0) a.phase = 'end'
  }
}

function stop(a: Actor): void {
  a.phase = a.kind === 'owner' ? 'end' : 'idle'
  settle(a)
}

type Effect = (s: StagedState, a: Actor) => void

/** The next steps of an actor. */
function* moves(state: StagedState, a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
  if (a.kind === 'owner') yield* ownerMoves(a, bounds, rules)
  else if (a.kind === 'sweeper') yield* sweeperMoves(state, a, bounds, rules)
  else yield* vacuumMoves(a, bounds, rules)
}

// ---- the owner: phases A to D ----

function* ownerMoves(a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
  const { files } = a
  const fused = bounds.modes[a.w] === 'fused'
  const local = bounds.root === 'local'
  const afterFiles = fused ? (rules.promotesFirst ? 'promote' : 'record') : 'seal'
  const canAbort = bounds.aborts && ['put', 'confirm', 'syncFiles', 'seal', 'promote', 'record', 'publish'].includes(a.phase)
  if (canAbort) yield ['rolls its write back', (s, me) => rollBack(s, me, rules)]
  if (a.rebasesLeft > 0 && a.base > 0 && (a.phase === 'promote' || a.phase === 'publish')) {
    yield [
      'computes its deletions again', // d10'
      (_, me) => {
        me.rebasesLeft--
        me.files = files.map((content) => (content === 'x' ? 'z' : content))
        me.gens = files.map(() => 0)
        me.list = []
        me.at = 0
        me.phase = 'put'
      },
    ]
  }
  switch (a.phase) {
    case 'arm': // A
      yield [
        `arms write ${a.w}`,
        (s, me) => {
          s.bases[me.w] = s.log.length
          me.avoids = [...fold(s.log, s.outcomeFloor).dead]
          if (rules.armsFirst) putIntent(s, me.w)
          me.phase = 'put'
        },
      ]
      return
    case 'put': {
      // B
      const content = files[a.at]!
      yield [
        `puts file ${content} of write ${a.w}`,
        (s, me) => {
          if (local) s.staging[me.w]![content] = 1
          else {
            const name = `${content}${me.gens[me.at]}`
            if (rules.avoidsDead && me.avoids.includes(name)) return void me.gens[me.at]!++
            if (s.names[name] !== undefined && rules.ownNames) return void me.gens[me.at]!++
            s.names[name] ??= { synced: true, good: true, t: ++s.now }
            if (rules.confirms) return void (me.phase = 'confirm')
          }
          if (++me.at === files.length) me.phase = 'syncFiles'
        },
      ]
      return
    }
    case 'confirm': // object root: the bytes are still at hand
      yield [
        `reads the log: is ${files[a.at]}${a.gens[a.at]} dead?`,
        (s, me) => {
          me.phase = 'put'
          if (fold(s.log, s.outcomeFloor).dead.has(`${files[me.at]}${me.gens[me.at]}`)) me.gens[me.at]!++
          else if (++me.at === files.length) me.phase = 'syncFiles'
        },
      ]
      return
    case 'syncFiles':
      yield [
        `syncs the staging directory of write ${a.w}`,
        (s, me) => {
          const entries = s.staging[me.w]!
          for (const content of files) if (entries[content] === 1) entries[content] = 2
          if (!rules.armsFirst) putIntent(s, me.w)
          me.phase = afterFiles
          me.at = 0
        },
      ]
      return
    case 'seal': // B'
      yield [
        `seals write ${a.w} as ${names(files, a.gens).join()}`,
        (s, me) => {
          const verdict = admit(s, { k: 'seal', w: me.w, names: names(files, me.gens), seal: me.base }, rules)
          if (verdict === 'dead') return nextGens(s, me, files, local, 'seal')
          if (verdict === 'stale') return adopt(s, me)
          if (verdict !== undefined) return tell(s, me, verdict)
          me.base = s.log.length
          me.phase = 'promote'
          me.at = 0
        },
      ]
      return
    case 'promote':
      yield [promoteLabel(files, a, local), (s, me) => promote(s, me, files, bounds, rules, fused ? 'record' : 'publish')]
      return
    case 'record': // C, fused
      yield [
        `records write ${a.w} as ${names(files, a.gens).join()}`,
        (s, me) => {
          const verdict = admit(s, { k: 'commit', w: me.w, names: names(files, me.gens) }, rules)
          if (verdict === 'dead') return nextGens(s, me, files, local, 'promote')
          if (verdict !== undefined) return tell(s, me, notDead(verdict))
          if (!rules.promotesFirst) {
            me.phase = 'promote'
            me.at = 0
          } else tell(s, me, 'published')
        },
      ]
      return
    case 'publish': // C
      yield [
        `publishes write ${a.w}`,
        (s, me) => {
          const named = bounds.generations === 'seal' ? [] : chosen(s, me)
          const verdict = admit(s, { k: 'publish', w: me.w, names: named, seal: me.base }, rules)
          if (verdict === 'stale') adopt(s, me)
          else if (verdict === 'dead') nextGens(s, me, files, local, 'promote')
          else tell(s, me, verdict === undefined ? 'published' : notDead(verdict))
        },
      ]
      return
    case 'lost': // what it promotes is gone: somebody decided
      yield [
        'reads the log again',
        (s, me) => {
          const { outcomes, pending } = fold(s.log, s.outcomeFloor)
          const outcome = outcomes[me.w]
          if (outcome !== undefined) tell(s, me, outcome)
          else if (pending[me.w] === undefined && s.bases[me.w]! < s.outcomeFloor) tell(s, me, me.base > 0 ? 'unknown' : 'fenced')
          else s.wrong = `files of write ${me.w} are gone, and nobody decided`
        },
      ]
      return
    case 'retire': // D
      yield* retireMoves(a)
  }
}

function putIntent(s: StagedState, w: number): void {
  s.staging[w]![INTENT] = 2
  s.intentTimes[w] = ++s.now
}

function rollBack(s: StagedState, me: Actor, rules: StagedRules): void {
  const verdict = admit(s, { k: 'rollback', w: me.w, names: [], seal: me.base }, rules)
  if (verdict === 'stale') me.base = fold(s.log, s.outcomeFloor).pending[me.w]!.lsn
  else tell(s, me, verdict === undefined ? 'rolledBack' : notDead(verdict))
}

function notDead(verdict: Verdict): Outcome | 'fenced' | 'unknown' {
  if (verdict === 'dead' || verdict === 'stale') throw new Error(`verdict ${verdict}`)
  return verdict
}

function take(me: Actor, sealed: readonly string[]): void {
  me.files = sealed.map((name) => name[0]!)
  me.gens = sealed.map((name) => Number(name.slice(1)))
}

/** Somebody sealed the write again: what is pending now is what counts. */
function adopt(s: StagedState, me: Actor): void {
  const sealed = fold(s.log, s.outcomeFloor).pending[me.w]!
  me.base = sealed.lsn
  take(me, sealed.names)
  me.phase = 'promote'
  me.at = 0
}

function tell(s: StagedState, me: Actor, verdict: Exclude<Actor['told'], ''>): void {
  me.told = verdict
  me.phase = 'retire'
  me.list = listed(s, me.w)
  if (me.list.length === 0) me.phase = 'end'
}

/** The next generation of every dead name. On an object root there is no second copy to give another name. */
function nextGens(s: StagedState, me: Actor, files: readonly string[], local: boolean, phase: string): void {
  if (!local) {
    s.wrong = `vacuum took a file of open write ${me.w}`
    return
  }
  const { dead } = fold(s.log, s.outcomeFloor)
  files.forEach((content, f) => {
    while (dead.has(`${content}${me.gens[f]}`)) me.gens[f]!++
  })
  me.phase = phase
  me.at = 0
}

// ---- promotion and retirement, by owners and sweepers ----

function promoteLabel(files: readonly string[], a: Actor, local: boolean): string {
  const name = `${files[a.at] ?? ''}${a.gens[a.at] ?? ''}`
  if (a.at === files.length) return 'syncs the directories of what it promoted'
  return local ? `links ${name}` : `looks at ${name}`
}

function promote(s: StagedState, me: Actor, files: readonly string[], bounds: StagedBounds, rules: StagedRules, next: string): void {
  if (me.at === files.length) {
    for (const name of me.list) if (s.names[name] !== undefined) s.names[name].synced = true
    me.list = []
    me.at = 0
    me.phase = next
    // Generations that a seal does not know need a new one.
    const sealed = fold(s.log, s.outcomeFloor).pending[me.w]
    if (bounds.generations === 'seal' && next === 'publish' && sealed !== undefined && sealed.names.join() !== names(files, me.gens).join()) me.phase = 'seal'
    return
  }
  const content = files[me.at]!
  const name = `${content}${me.gens[me.at]}`
  if (rules.avoidsDead && bounds.root === 'local' && (me.avoids.includes(name) || fold(s.log, s.outcomeFloor).dead.has(name))) return void me.gens[me.at]!++
  const target = s.names[name]
  if (target !== undefined) {
    if (!target.good && rules.verifies) {
      if (bounds.root === 'local') me.gens[me.at]!++
      else s.wrong = 'a file of its own is damaged'
      return
    }
    if (rules.syncsExisting) me.list.push(name)
  } else if (bounds.root === 'local' && isThere(s.staging[me.w]![content])) {
    s.names[name] = { synced: false, good: true, t: ++s.now }
    me.list.push(name)
  } else {
    me.phase = 'lost'
    me.list = []
    return
  }
  me.at++
}

function listed(s: StagedState, w: number): string[] {
  const entries = Object.keys(s.staging[w]!).filter((entry) => isThere(s.staging[w]![entry]))
  return [...entries.filter((entry) => entry !== INTENT).sort(), ...entries.filter((entry) => entry === INTENT)]
}

function isThere(entry: Entry | undefined): boolean {
  return entry === 1 || entry === 2
}

/** Files, INTENT last; what was listed, nothing else. */
function* retireMoves(a: Actor): Generator<[string, Effect], void> {
  yield [
    `deletes ${a.list[0]} of write ${a.w}`,
    (s, me) => {
      const entry = me.list.shift()!
      const entries = s.staging[me.w]!
      if (entries[entry] === 2) entries[entry] = 3
      else if (entries[entry] === 1) delete entries[entry]
      if (me.list.length === 0) me.phase = me.kind === 'owner' ? 'end' : 'next'
    },
  ]
}

// ---- sweep and heal ----

function* sweeperMoves(state: StagedState, a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
  const { files } = a
  switch (a.phase) {
    case 'idle':
      if (a.passesLeft > 0) {
        yield [
          'starts a pass',
          (_, me) => {
            me.passesLeft--
            me.w = -1
            me.phase = 'next'
          },
        ]
      }
      return
    case 'next':
      yield [
        `looks at write ${a.w + 1}`,
        (s, me) => {
          me.w++
          me.at = 0
          me.list = []
          if (me.w === bounds.writes.length) me.phase = 'idle'
          else if (listed(s, me.w).length > 0 || fold(s.log, s.outcomeFloor).pending[me.w] !== undefined) me.phase = 'decide'
        },
      ]
      return
    case 'decide': {
      // What the owner's liveness looks like, right or wrong; then the table of recovery.md section 5.
      yield [`decides about write ${a.w}`, (s, me) => decide(s, me, rules, false)]
      if (state.wrongLeft > 0 && state.actors[a.w]!.phase !== 'end') {
        yield [
          `takes the owner of write ${a.w} for dead and decides`,
          (s, me) => {
            s.wrongLeft--
            decide(s, me, rules, true)
          },
        ]
      }
      return
    }
    case 'look':
      yield [
        `looks for ${files[a.at]} of write ${a.w}`,
        (s, me) => {
          const content = files[me.at]!
          const staged = bounds.root === 'local' && isThere(s.staging[me.w]![content])
          if (!staged && s.names[`${content}${me.gens[me.at]}`]?.good !== true) me.phase = 'damaged'
          else if (++me.at === files.length) {
            me.phase = 'promote'
            me.at = 0
          }
        },
      ]
      return
    case 'promote':
      yield [promoteLabel(files, a, bounds.root === 'local'), (s, me) => promote(s, me, files, bounds, rules, 'publish')]
      return
    case 'seal':
      yield [
        `seals write ${a.w} again as ${names(files, a.gens).join()}`,
        (s, me) => {
          const verdict = admit(s, { k: 'seal', w: me.w, names: names(files, me.gens), seal: me.base }, rules)
          if (verdict === 'dead') return nextGens(s, me, files, bounds.root === 'local', 'promote')
          if (verdict !== undefined) return void (me.phase = 'decide')
          me.base = s.log.length
          me.phase = 'publish'
        },
      ]
      return
    case 'publish':
      yield [
        `publishes write ${a.w}`,
        (s, me) => {
          const named = bounds.generations === 'seal' ? [] : chosen(s, me)
          const verdict = admit(s, { k: 'publish', w: me.w, names: named, seal: me.base }, rules)
          if (verdict === undefined) startRetire(s, me)
          else if (verdict === 'dead') nextGens(s, me, files, bounds.root === 'local', 'promote')
          else me.phase = 'decide'
        },
      ]
      return
    case 'rollBack':
      yield [
        `rolls write ${a.w} back: unsealed`,
        (s, me) => {
          const verdict = admit(s, { k: 'rollback', w: me.w, names: [], seal: me.base }, rules)
          if (verdict === undefined) startRetire(s, me)
          else me.phase = 'decide'
        },
      ]
      return
    case 'damaged':
      yield [
        `rolls write ${a.w} back: damaged`,
        (s, me) => {
          const verdict = admit(s, { k: 'rollback', w: me.w, names: [], seal: me.base }, rules)
          if (verdict === undefined) {
            // Nothing of a sealed write may be missing in this model: nobody deleted it.
            s.wrong = `sealed write ${me.w} was rolled back as damaged`
          } else me.phase = 'decide'
        },
      ]
      return
    case 'lost':
      yield [
        'reads the log again',
        (_, me) => {
          me.phase = 'decide'
        },
      ]
      return
    case 'retire':
      yield* retireMoves(a)
  }
}

function decide(s: StagedState, me: Actor, rules: StagedRules, takesForDead: boolean): void {
  const { outcomes, pending } = fold(s.log, s.outcomeFloor)
  const alive = s.actors[me.w]!.phase !== 'end' && !takesForDead
  const sealed = pending[me.w]
  if (outcomes[me.w] !== undefined) return startRetire(s, me) // d2
  if (sealed === undefined && s.bases[me.w]! < s.outcomeFloor && rules.outcomeFloor) return startRetire(s, me) // d2'
  if (sealed === undefined && !isThere(s.staging[me.w]![INTENT])) return startRetire(s, me) // INTENT goes last
  if (alive) return void (me.phase = 'next') // d5; heal defers
  if (sealed !== undefined) {
    me.phase = 'look'
    me.at = 0
    me.base = sealed.lsn
    take(me, sealed.names)
    return
  }
  if (!rules.decidesFirst) return startRetire(s, me)
  me.base = 0
  me.phase = 'rollBack' // d6
}

function startRetire(s: StagedState, me: Actor): void {
  me.list = listed(s, me.w)
  me.phase = me.list.length === 0 ? 'next' : 'retire'
}

// ---- vacuum ----

function* vacuumMoves(a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
  const object = bounds.root === 'object'
  switch (a.phase) {
    case 'idle':
      if (a.passesLeft > 0) {
        yield [
          'starts',
          (s, me) => {
            me.passesLeft--
            plan(s, me, object, rules)
          },
        ]
      }
      return
    case 'names':
      yield [
        'lists names',
        (s, me) => {
          me.list = Object.keys(s.names).sort()
          if (object && !rules.namesFirst) me.list = me.list.filter((name) => s.names[name]!.t < me.base)
          me.phase = object && rules.namesFirst ? 'intents' : 'record'
          if (!rules.vacuumLooksAgain) me.list = unnamed(s, me.list, rules)
          if (rules.plansLive) me.files = me.list.filter((name) => fold(s.log, s.outcomeFloor).dead.has(name))
        },
      ]
      return
    case 'intents':
      yield [
        'lists INTENTs',
        (s, me) => {
          const { outcomes, pending } = fold(s.log, s.outcomeFloor)
          let oldest = NEVER
          s.staging.forEach((entries, w) => {
            const isOpen = outcomes[w] === undefined && pending[w] === undefined && s.bases[w]! >= s.outcomeFloor
            if (isThere(entries[INTENT]) && isOpen && rules.minds) oldest = Math.min(oldest, s.intentTimes[w]!)
          })
          me.base = oldest
          if (rules.namesFirst) me.list = me.list.filter((name) => (s.names[name]?.t ?? NEVER) < oldest)
          me.phase = rules.namesFirst ? 'record' : 'names'
        },
      ]
      return
    case 'record':
      yield [
        `records ${a.list.join()} as dead`,
        (s, me) => {
          if (rules.vacuumReplans && s.log.slice(me.at).some(({ k }) => k === 'vacuum')) return plan(s, me, object, rules)
          if (rules.vacuumLooksAgain) me.list = unnamed(s, me.list, rules)
          if (me.list.length === 0) return void (me.phase = 'idle')
          const named = me.list.filter((name) => !me.files.includes(name))
          if (rules.vacuumRecords && named.length > 0) s.log.push({ k: 'vacuum', w: -1, names: named })
          me.phase = 'check'
        },
      ]
      return
    case 'check':
      yield [
        `looks whether ${a.list[0]} is dead`,
        (s, me) => {
          const { dead } = fold(s.log, s.outcomeFloor)
          if (!rules.vacuumRecords || dead.has(me.list[0]!)) me.phase = 'delete'
          else plan(s, me, object, rules)
        },
      ]
      return
    case 'delete':
      yield [
        `deletes ${a.list[0]}`,
        (s, me) => {
          delete s.names[me.list.shift()!]
          me.phase = me.list.length === 0 ? 'idle' : 'check'
        },
      ]
  }
}

function plan(s: StagedState, me: Actor, object: boolean, rules: StagedRules): void {
  me.phase = object && !rules.namesFirst ? 'intents' : 'names'
  me.list = []
  me.at = s.log.length
}

/** Names that neither the fold nor a pending seal names. */
function unnamed(s: StagedState, list: readonly string[], rules: StagedRules): string[] {
  const { live, pending } = fold(s.log, s.outcomeFloor)
  const kept = new Set([...live, ...(rules.sealProtects ? Object.values(pending).flatMap((seal) => seal.names) : [])])
  return list.filter((name) => !kept.has(name))
}

// ---- the log ----

interface Fold {
  /** Known: younger than the outcome floor. */
  readonly outcomes: Record<number, Outcome>
  readonly pending: Record<number, { lsn: number; names: string[] }>
  readonly dead: ReadonlySet<string>
  /** Named by the newest version. */
  readonly live: ReadonlySet<string>
  /** Records that gave an outcome, per write. */
  readonly given: Record<number, number>
}

function fold(log: readonly LogRecord[], floor: number): Fold {
  const outcomes: Record<number, Outcome> = {}
  const pending: Record<number, { lsn: number; names: string[] }> = {}
  const given: Record<number, number> = {}
  const dead = new Set<string>()
  const live = new Set<string>()
  log.forEach(({ k, w, names: list }, i) => {
    const lsn = i + 1
    if (k === 'vacuum') {
      if (lsn > floor) for (const name of list) dead.add(name)
      return
    }
    if (k === 'seal') {
      pending[w] = { lsn, names: list }
      return
    }
    given[w] = (given[w] ?? 0) + 1
    if (lsn > floor) outcomes[w] ??= k === 'rollback' ? 'rolledBack' : 'published'
    if (k === 'commit') for (const name of list) live.add(name)
    if (k === 'publish') for (const name of pending[w]?.names ?? []) live.add(list.find((other) => other[0] === name[0]) ?? name)
    delete pending[w]
  })
  return { outcomes, pending, dead, live, given }
}

type Verdict = Outcome | 'dead' | 'fenced' | 'stale' | 'unknown'

/** Appends the record, or says why not. */
function admit(s: StagedState, record: LogRecord, rules: StagedRules): Verdict | undefined {
  const { outcomes, pending, dead } = fold(s.log, s.outcomeFloor)
  const outcome = outcomes[record.w]
  if (outcome !== undefined) return outcome
  const sealed = pending[record.w]
  if (sealed === undefined) {
    // A record that speaks of a seal: it was decided, and that is forgotten. Whoever may still give an outcome has an LSN that the fold remembers.
    if (record.k === 'publish' || (record.seal ?? 0) > 0) return 'unknown'
    if (rules.outcomeFloor && s.bases[record.w]! < s.outcomeFloor) return 'fenced'
  } else if ((record.k === 'rollback' ? rules.rollbackNamesSeal : rules.namesSeal) && sealed.lsn !== (record.seal ?? 0)) {
    return 'stale'
  }
  if (rules.refusesDead && record.names.some((name) => dead.has(name))) return 'dead'
  if (record.k === 'rollback' && sealed !== undefined && record.seal === 0) s.wrong = `write ${record.w} is sealed, and rolled back as unsealed`
  s.log.push(record)
  return undefined
}

/** Names that promotion chose and the pending seal does not know: a publish record states them. */
function chosen(s: StagedState, me: Actor): string[] {
  const sealed = fold(s.log, s.outcomeFloor).pending[me.w]?.names ?? []
  return names(me.files, me.gens).filter((name) => !sealed.includes(name))
}

function names(files: readonly string[], gens: readonly number[]): string[] {
  return files.map((content, f) => `${content}${gens[f]}`)
}

// ---- faults and claims ----

/** Of what is not synced, every subset may be lost; of removals that are not synced, every subset may come back. */
function powerCuts(state: StagedState, step: (label: string, effect: (draft: StagedState) => void) => void): void {
  const doubtful: { what: string; take: (s: StagedState) => void; keep: (s: StagedState) => void }[] = []
  for (const name of Object.keys(state.names).sort()) {
    if (!state.names[name]!.synced) doubtful.push({ what: name, take: (s) => void delete s.names[name], keep: (s) => void (s.names[name]!.synced = true) })
  }
  state.staging.forEach((entries, w) => {
    for (const [entry, is] of Object.entries(entries)) {
      if (is === 2) continue
      doubtful.push({ what: `${w}/${entry}`, take: (s) => void delete s.staging[w]![entry], keep: (s) => void (s.staging[w]![entry] = 2) })
    }
  })
  for (let mask = 0; mask < 1 << doubtful.length; mask++) {
    const kept = doubtful.filter((_, i) => (mask & (1 << i)) !== 0).map(({ what }) => what)
    step(`power cut; of what was unsynced [${kept.join()}] is there`, (draft) => {
      draft.cutsLeft--
      doubtful.forEach(({ take, keep }, i) => ((mask & (1 << i)) === 0 ? take(draft) : keep(draft)))
      draft.actors.forEach(stop)
    })
  }
}

function invariant(s: StagedState, bounds: StagedBounds): string | undefined {
  const { pending, live, given } = fold(s.log, 0)
  for (const name of live)
    if (s.names[name]?.good !== true) return `${name} is named by a published write and ${s.names[name] === undefined ? 'not there' : 'damaged'}`
  for (const [w, count] of Object.entries(given)) if (count > 1) return `write ${w} has ${count} outcomes`
  const { outcomes } = fold(s.log, 0)
  for (const { kind, w, told } of s.actors) {
    if (kind !== 'owner' || told === '' || told === 'unknown') continue
    const truth = outcomes[w]
    if (told === 'published' && truth !== 'published') return `the owner of write ${w} was told published; the log says ${truth}`
    if (told !== 'published' && truth === 'published') return `the owner of write ${w} was told ${told}; the log says published`
  }
  for (const [w, seal] of Object.entries(pending)) {
    for (const name of seal.names) {
      if (bounds.root === 'local' && isThere(s.staging[Number(w)]![name[0]!])) continue
      if (s.names[name]?.good !== true) return `sealed write ${w} is pending and ${name} is neither staged nor promoted`
    }
  }
  // Ownership before effect, and until the outcome is known.
  for (let w = 0; w < s.staging.length; w++) {
    const entries = s.staging[w]!
    const hasFiles = Object.keys(entries).some((entry) => entry !== INTENT && isThere(entries[entry]))
    const decided = given[w] !== undefined || s.bases[w]! < s.outcomeFloor
    if (hasFiles && !decided && !isThere(entries[INTENT])) return `write ${w} has files, no INTENT and no outcome`
  }
  return undefined
}

/** When everybody has stopped, one sweep leaves staging empty, and every write that was armed has its outcome. */
function quietEnd(state: StagedState, bounds: StagedBounds, rules: StagedRules): string | undefined {
  if (!state.actors.every(({ phase }) => phase === 'end' || phase === 'idle')) return undefined
  const s = JSON.parse(JSON.stringify(state)) as StagedState
  for (const a of s.actors) if (a.kind === 'owner') a.phase = 'end'
  const index = s.actors.length
  s.actors.push({ ...actor('sweeper', 'idle'), passesLeft: 1 })
  for (let i = 0; ; i++) {
    const me = s.actors[index]!
    const next = moves(s, me, bounds, rules).next()
    if (next.done === true) break
    next.value[1](s, me)
    settle(me)
    if (s.wrong !== '') return `a last sweep: ${s.wrong}`
    if (i === 200) return 'a last sweep does not end'
  }
  const { pending, given } = fold(s.log, 0)
  for (let w = 0; w < bounds.writes.length; w++) {
    if (listed(s, w).length > 0) return `a last sweep leaves ${listed(s, w).join()} of write ${w}`
    if (pending[w] !== undefined) return `a last sweep leaves write ${w} pending`
    const decidable = isThere(state.staging[w]![INTENT]) && state.bases[w]! >= state.outcomeFloor
    if (decidable && given[w] !== 1) return `write ${w} has ${given[w] ?? 0} outcomes after a last sweep`
  }
  return invariant(s, bounds)
}
