// Sweep and heal in the model of staged writes: the table of recovery.md section 5 (bindings/recovery).
import { nextGens, take } from './staged-owner.ts'
import { isThere, listed, promote, promoteLabel, retireMoves } from './staged-promote.ts'
import { type Actor, type Effect, INTENT, type StagedBounds, type StagedRules, type StagedState, admit, chosen, fold, names } from './staged-state.ts'

export function* sweeperMoves(state: StagedState, a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
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
