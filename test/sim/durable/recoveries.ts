// Crashes of a history at its disk operations, several legal states after each, and a recovery of every one of them, itself crashed and begun anew.
//
// Held in each state: the store opens (read-only without a single change of the disk); it shows the version of one LSN, no lower than what was
// promised; the chain digest there is the history's; a recovery that was broken off and begun anew leaves byte for byte what one in one go leaves; and what
// is committed behind it outlives the next cut. Every branch and tag shows what it did, and so does every version that no vacuum's record gave up.

import { ConflictError, NotAStoreError, type OpenOptions, type ReadStore, Store } from '../../../bindings/index.ts'
import type { DiskTrace, FakeFiles } from '../../../bindings/testing/index.ts'
import { simWorld } from '../sim-world.ts'
import { accounts, apply, rowOf, type TableName, text } from '../store-model.ts'
import type { Dice } from './dice.ts'
import { type Life, PLACE, type Version } from './life.ts'
import { differs, differsInNamed, differsInPast, differsInStaged, foundAt, leftBy, otherwise } from './look.ts'

const IDENTITY = `${PLACE}/VARVE`
/** Failures after which the rest of a history is not looked at. */
const FAILURES_MAX = 3
/** Of one recovery. */
const RECORDS_MAX = 4
/** Recoveries of a recovery of ... */
const DEPTH_MAX = 3
const CHANGES: ReadonlySet<string> = new Set(['write', 'truncate', 'mkdir', 'rmdir', 'link', 'rename', 'unlink', 'syncDir', 'datasync', 'sync'])

export interface SimReport {
  readonly seed: number
  states: number
  /** What went wrong, each with the way there. */
  readonly failures: string[]
}

interface State {
  readonly files: FakeFiles
  /** How it came to be. */
  readonly what: string
  /** The LSN that the log must reach. */
  readonly required: number
  /** The one that it must still reach after a power cut. */
  readonly power: number
  /** Every byte and name of it is durable. */
  readonly isDurable: boolean
  /** How many crashes lie behind it. */
  readonly depth: number
  /** Up to here the log is the history's; behind it are epoch records of recoveries. */
  readonly limit: number
  /** What the first recovery found and left, where a second one must leave the same. */
  readonly once: { readonly lsn: number; readonly left: Map<string, string> } | undefined
}

export class Recoveries {
  readonly #life: Life
  readonly #dice: Dice
  readonly #report: SimReport
  #processes = 5000

  constructor(life: Life, dice: Dice, report: SimReport) {
    this.#life = life
    this.#dice = dice
    this.#report = report
  }

  /** Looks at several states of the moment before one operation of the history. */
  async crashAt(index: number, what: string): Promise<void> {
    if (this.#report.failures.length >= FAILURES_MAX) return
    const dice = this.#dice
    const life = this.#life
    const point = life.trace.at(index)
    const power = life.required(index, 'power')
    const process = life.required(index, 'process')
    const first = { power, depth: 1, limit: Infinity, once: undefined }
    const states: State[] = []
    const unsynced = point.unsynced()
    const pending = unsynced.length === 0 ? '' : `\n    unsynced: ${unsynced.join('; ')}`
    if (dice.once(3)) {
      states.push({ ...first, files: point.killed(), what: `${what}\n  killed${pending}`, required: process, isDurable: false })
    }
    if (dice.once(12)) {
      let n = 0
      for (const files of point.enumerate(12))
        states.push({ ...first, files, what: `${what}\n  cut, state ${n++} of all${pending}`, required: power, isDurable: true })
    }
    for (let n = unsynced.length === 0 ? 1 : 1 + dice.int(4); n > 0; n--) {
      const sample = point.sample(dice.seed())
      states.push({ ...first, files: sample.files, what: `${what}\n  cut: ${sample.what}${pending}`, required: power, isDurable: true })
    }
    for (const state of states) await this.recover(state)
  }

  /** Opens a state, holds it against the history, and crashes that recovery in turn. */
  async recover(state: State): Promise<void> {
    if (this.#report.failures.length >= FAILURES_MAX) return
    this.#report.states++
    try {
      await this.#recover(state)
    } catch (error) {
      this.#report.failures.push(`${state.what}\n  ${stackOf(error)}`)
    }
  }

  async #recover(state: State): Promise<void> {
    const dice = this.#dice
    const { files } = state
    const looksFirst = dice.once(4)
    const goesDeeper = state.depth < DEPTH_MAX && dice.once(state.depth === 1 ? (state.isDurable ? 8 : 4) : 3)
    const seen = looksFirst ? await this.#readOnly(state) : undefined
    const trace = goesDeeper ? files.record() : undefined
    // A store without VARVE is given one: of its own time, whoever opens first.
    const isNamed = files.contents(IDENTITY) !== undefined
    const store = await this.#open(files, {})
    const found = foundAt(files)
    const lsn = this.#held(state, found)
    if (seen !== undefined && seen !== found.lsn) throw new Error(`read-only it ended at LSN ${seen}, the recovery found ${found.lsn}`)
    const version = await this.#shown(store, lsn, `LSN ${found.lsn}`)
    const strange = await differsInStaged(store, files, this.#life.sealed, lsn)
    if (strange !== undefined) throw new Error(strange)
    await this.#elsewhere(store, lsn)
    if (dice.once(12)) {
      const { problems } = await store.verify({ level: 'all' })
      if (problems.length > 0) throw new Error(`verify: ${text(problems)}`)
    }
    const opened = trace?.length ?? 0
    if (!goesDeeper && dice.once(state.isDurable ? 6 : 3)) return this.#goOn(store, files, version, lsn)
    if (dice.once(8)) store[Symbol.dispose]()
    else await store.close()
    if (state.once !== undefined) {
      const left = leftBy(files, state.once.lsn)
      if (!state.once.left.has('VARVE')) left.delete('VARVE')
      const difference = otherwise(state.once.left, left)
      if (difference !== undefined) throw new Error(difference)
    }
    if (trace === undefined) return
    trace.stop()
    const limit = Math.min(state.limit, found.lsn)
    const once = state.once ?? { lsn: limit, left: leftBy(files, limit) }
    if (!isNamed) once.left.delete('VARVE')
    for (let n = 4 + dice.int(8); n > 0; n--) {
      const index = drawPoint(dice, trace, dice.once(4) ? trace.length : opened)
      const point = trace.at(index)
      const what = `${state.what}\n  then before operation ${index} of ${trace.length} (${trace.describe(index)}) of the recovery`
      const power = index >= opened ? Math.max(state.power, limit) : state.power
      const next = { power, depth: state.depth + 1, limit }
      if (dice.once(3)) {
        const required = Math.max(power, state.required)
        await this.recover({ ...next, files: point.killed(), what: `${what}, killed`, required, isDurable: false, once })
        continue
      }
      // A first crash that was a kill leaves bytes in the page cache alone: a power cut may still take what was not promised to outlive one.
      const sample = point.sample(dice.seed())
      const same = state.isDurable ? once : undefined
      const required = state.isDurable ? Math.max(power, state.required) : power
      await this.recover({ ...next, files: sample.files, what: `${what}, cut: ${sample.what}`, required, isDurable: true, once: same })
    }
  }

  async #readOnly(state: State): Promise<number | undefined> {
    const calls = state.files.calls.length
    let store: ReadStore
    try {
      store = await this.#open(state.files, { readOnly: true, follow: false })
    } catch (error) {
      if (error instanceof NotAStoreError && state.required === 0) return undefined
      throw error
    }
    const lsn = Number(store.lsn)
    await this.#shown(store, Math.min(lsn, state.limit), `read-only, LSN ${lsn}`)
    await this.#elsewhere(store, Math.min(lsn, state.limit))
    await store.close()
    const change = state.files.calls.slice(calls).find(({ op }) => CHANGES.has(op))
    if (change !== undefined) throw new Error(`a read-only open calls ${change.op} of ${change.path}`)
    return lsn
  }

  /** Which version of main it shows, of those that it may. */
  async #shown(store: ReadStore, lsn: number, where: string): Promise<Version> {
    let wrong: string | undefined
    for (const version of this.#life.shownAt(lsn)) {
      const found = await differs(store, version)
      if (found === undefined) return version
      wrong ??= found
    }
    throw new Error(`${where}: ${wrong}`)
  }

  /** Branches, tags, and some version that is kept, or was. */
  async #elsewhere(store: ReadStore, lsn: number): Promise<void> {
    const dice = this.#dice
    const life = this.#life
    const wrong = (await differsInNamed(store, life.named, lsn, dice)) ?? (dice.once(2) ? await differsInPast(store, life, lsn, dice) : undefined)
    if (wrong !== undefined) throw new Error(`at LSN ${lsn}, ${wrong}`)
  }

  /** The LSN whose version a recovery must show that found the log ending there. */
  #held(state: State, found: { lsn: number; digest: string }): number {
    if (found.lsn < state.required) throw new Error(`LSN ${state.required} was promised; the log ends at ${found.lsn}`)
    if (state.once !== undefined && found.lsn < state.once.lsn) throw new Error(`the recovery before found LSN ${state.once.lsn}, this one ${found.lsn}`)
    const lsn = Math.min(found.lsn, state.limit)
    if (found.lsn === lsn && this.#life.digests[lsn] !== found.digest) throw new Error(`the chain digest at LSN ${lsn} is not the history's`)
    // Each recovery adds its epoch record, and a few for a write that it decides.
    if (found.lsn > lsn + (state.depth - 1) * RECORDS_MAX) throw new Error(`${found.lsn - lsn} records of ${state.depth - 1} recoveries`)
    return lsn
  }

  /** What is acknowledged after the recovery outlives the next power cut: a row, and the publication of a staged write. */
  async #goOn(store: Store, files: FakeFiles, version: Version, lsn: number): Promise<void> {
    const id = 100_000 + this.#processes
    await store.apply([accounts], { allowDataLoss: true })
    const row = rowOf('accounts', id, 1)
    await store.upsert(accounts, row as never)
    let after: Version = {
      lsn,
      tables: [...new Set<TableName>([...version.tables, 'accounts'])],
      state: apply(version.state, { op: 'upsert', table: 'accounts', keys: [id], salt: 1, form: 'rows' })!.state,
    }
    const sealed = this.#life.sealed.find((each) => each.waits(lsn) === true)
    if (sealed !== undefined) {
      const write = await store.resume(sealed.id as never)
      try {
        await write.publish()
        after = { ...after, state: sealed.over(after.state)! }
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error
        await write.rollback()
      }
    }
    if (this.#dice.once(3)) await vacuumTwice(store)
    await store.sync()
    const trace = files.record()
    trace.stop()
    const sample = trace.at(0).sample(this.#dice.seed())
    this.#report.states++
    const next = await this.#open(sample.files, {})
    const wrong = await differs(next, after)
    if (wrong !== undefined) throw new Error(`what was committed after the recovery is not there after another cut (${sample.what}): ${wrong}`)
    await next.close()
  }

  async #open(files: FakeFiles, o: OpenOptions): Promise<Store> {
    const pid = ++this.#processes
    const { world } = simWorld({
      seed: this.#dice.seed(),
      files,
      host: { pid, processStartTime: String(pid) },
      startMs: 1_800_000_000_000 + pid * 1000,
    })
    return Store.open(PLACE, { ...this.#life.o.open, ...o, threads: 0, world })
  }
}

/** Whatever a crash left, one vacuum takes all that nothing needs. */
async function vacuumTwice(store: Store): Promise<void> {
  const keep = { versions: 1 }
  await store.vacuum({ keep })
  const { deleted } = await store.vacuum({ keep, dryRun: true })
  if (deleted > 0) throw new Error(`a vacuum left ${deleted} files to the next one`)
  const { problems } = await store.verify({ level: 'all' })
  if (problems.length > 0) throw new Error(`verify after a vacuum: ${text(problems)}`)
}

/** Half of them right before a barrier, where most is at stake. */
export function drawPoint(dice: Dice, trace: DiskTrace, most: number): number {
  let index = dice.int(most + 1)
  if (dice.once(2)) return index
  while (index < most && !trace.ops[index]!.op.startsWith('sync')) index++
  return index
}

export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
