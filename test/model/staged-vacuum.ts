// Vacuum in the model of staged writes (recovery.md section 10).
import { isThere } from './staged-promote.ts'
import { type Actor, type Effect, INTENT, NEVER, type StagedBounds, type StagedRules, type StagedState, fold } from './staged-state.ts'

export function* vacuumMoves(a: Actor, bounds: StagedBounds, rules: StagedRules): Generator<[string, Effect], void> {
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
