// Model of the life of staged writes (recovery.md sections 1-7 and 10): owners, sweepers and vacuum over one log, one staging area and one folder of content
// addresses; kills and a power cut at every step; right and wrong guesses whether an owner is alive.
//
// One step = one durable effect. An append is one step with its admission: both logs give that (queue or compare-and-set). Files are named <content><gen>.
// Phases A-D are bindings/staging (arm, put, promote, retire), bindings/write (seal, publish, rollback) and bindings/recovery (sweep, heal).
import type { Model } from './explore.ts'
import { ownerMoves } from './staged-owner.ts'
import { isThere, listed } from './staged-promote.ts'
import { type Actor, type Effect, INTENT, STAGED_RULES, type StagedBounds, type StagedRules, type StagedState, fold } from './staged-state.ts'
import { sweeperMoves } from './staged-sweeper.ts'
import { vacuumMoves } from './staged-vacuum.ts'

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

/** The next steps of an actor. */
function* moves(state: StagedState, a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
  if (a.kind === 'owner') yield* ownerMoves(a, bounds, rules)
  else if (a.kind === 'sweeper') yield* sweeperMoves(state, a, bounds, rules)
  else yield* vacuumMoves(a, bounds, rules)
}

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
