// The owner of a write in the model of staged writes: phases A to D (bindings/staging, bindings/write).
import { listed, promote, promoteLabel, retireMoves } from './staged-promote.ts'
import {
  type Actor,
  type Effect,
  INTENT,
  type Outcome,
  type StagedBounds,
  type StagedRules,
  type StagedState,
  type Verdict,
  admit,
  chosen,
  fold,
  names,
} from './staged-state.ts'

export function* ownerMoves(a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
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

export function take(me: Actor, sealed: readonly string[]): void {
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
export function nextGens(s: StagedState, me: Actor, files: readonly string[], local: boolean, phase: string): void {
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
