// Promotion and retirement in the model of staged writes, by owners and sweepers alike (bindings/staging).
import { type Actor, type Effect, type Entry, INTENT, type StagedBounds, type StagedRules, type StagedState, fold, names } from './staged-state.ts'

export function promoteLabel(files: readonly string[], a: Actor, local: boolean): string {
  const name = `${files[a.at] ?? ''}${a.gens[a.at] ?? ''}`
  if (a.at === files.length) return 'syncs the directories of what it promoted'
  return local ? `links ${name}` : `looks at ${name}`
}

export function promote(s: StagedState, me: Actor, files: readonly string[], bounds: StagedBounds, rules: StagedRules, next: string): void {
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

export function listed(s: StagedState, w: number): string[] {
  const entries = Object.keys(s.staging[w]!).filter((entry) => isThere(s.staging[w]![entry]))
  return [...entries.filter((entry) => entry !== INTENT).sort(), ...entries.filter((entry) => entry === INTENT)]
}

export function isThere(entry: Entry | undefined): boolean {
  return entry === 1 || entry === 2
}

/** Files, INTENT last; what was listed, nothing else. */
export function* retireMoves(a: Actor): Generator<[string, Effect], void> {
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
