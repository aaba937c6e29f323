// What the model of staged writes is about: its rules, its bounds, its state; and the log with its fold and admission (recovery.md sections 1, 4 and 10).

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

export type Outcome = 'published' | 'rolledBack'

interface LogRecord {
  k: 'commit' | 'seal' | 'publish' | 'rollback' | 'vacuum'
  /** Write, -1 for vacuum. */
  w: number
  names: string[]
  /** LSN of the seal that it speaks of: the one a publish publishes, a second seal replaces, a rollback takes back. */
  seal?: number
}

/** 1 = there, unsynced; 2 = there; 3 = removed, unsynced; absent = gone. */
export type Entry = 1 | 2 | 3

export interface Actor {
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

export const INTENT = 'INTENT'
export const NEVER = 1e9

export type Effect = (s: StagedState, a: Actor) => void

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

export function fold(log: readonly LogRecord[], floor: number): Fold {
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

export type Verdict = Outcome | 'dead' | 'fenced' | 'stale' | 'unknown'

/** Appends the record, or says why not. */
export function admit(s: StagedState, record: LogRecord, rules: StagedRules): Verdict | undefined {
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
export function chosen(s: StagedState, me: Actor): string[] {
  const sealed = fold(s.log, s.outcomeFloor).pending[me.w]?.names ?? []
  return names(me.files, me.gens).filter((name) => !sealed.includes(name))
}

export function names(files: readonly string[], gens: readonly number[]): string[] {
  return files.map((content, f) => `${content}${gens[f]}`)
}
