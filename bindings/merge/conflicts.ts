// merge/conflicts.ts: conflicts of a merge on their way to whoever decides them, and the error when nobody does.

import { InvalidConfigError, MergeConflictError } from '../errors.ts'
import type { Bound, RowShape } from '../engine/index.ts'
import { sameValues } from '../kernels/index.ts'
import { type ColumnBatch, type MergeConflict, type MergeOptions, rowsToBatch } from '../table/index.ts'
import type { ConflictRows, Resolution } from './merge-rows.ts'

/** Conflicts told one by one. */
const TOLD_MAX = 1000

export class Conflicts {
  readonly told: MergeConflict[] = []
  /** Those that nobody decided. */
  open = 0
  #total = 0
  readonly #onConflict: NonNullable<MergeOptions['onConflict']>

  constructor(onConflict: MergeOptions['onConflict']) {
    this.#onConflict = onConflict ?? 'fail'
  }

  /** @throws what the caller's function throws; InvalidConfigError for a row of another key */
  resolve(bound: Bound, shape: RowShape, rows: ConflictRows): Resolution {
    const decide = this.#onConflict
    this.#total++
    const isTold = this.told.length < TOLD_MAX
    // Of many that nobody looks at no row is read.
    const conflict = isTold || typeof decide === 'function' ? conflictOf(bound, rows) : undefined
    if (isTold) this.told.push(conflict!)
    if (decide === 'fail') {
      this.open++
      return 'open'
    }
    if (typeof decide !== 'function') return decide
    const row = decide(conflict!)
    if (row === undefined) return 'gone'
    const made = rowsToBatch(bound.view, [row])
    if (!sameKey(made, (rows.ours() ?? rows.theirs())!, shape)) {
      throw new InvalidConfigError(`onConflict gave a row of another key for ${bound.view.schema.name} (${rows.kind})`, {
        details: { key: 'onConflict', value: row },
        hint: 'Return a row with the key of the conflict, or undefined for none.',
      })
    }
    return made
  }

  /** A table without a key of which both sides deleted rows. */
  resolveTable(table: string): 'ours' | 'theirs' | 'open' {
    this.#total++
    if (this.told.length < TOLD_MAX) this.told.push({ table, key: {}, kind: 'bothChanged' })
    if (this.#onConflict === 'ours' || this.#onConflict === 'theirs') return this.#onConflict
    this.open++
    return 'open'
  }

  error(source: string, into: string): MergeConflictError {
    const [first] = this.told
    return new MergeConflictError(`${this.#total} rows of ${source} and ${into} are in conflict, ${first!.table} first (${first!.kind})`, {
      details: { conflicts: this.told, total: this.#total },
    })
  }
}

function sameKey(a: ColumnBatch, b: ColumnBatch, { keyAt }: RowShape): boolean {
  return keyAt.every((at) => (sameValues(a.columns[at]!, b.columns[at]!)[0]! & 1) === 1)
}

function conflictOf({ view, read }: Bound, { kind, base, ours, theirs }: ConflictRows): MergeConflict {
  const row = (batch: ColumnBatch | undefined): object | undefined => (batch === undefined ? undefined : read(batch.columns, 0))
  const [b, t, s] = [row(base()), row(ours()), row(theirs())]
  const any = (s ?? t ?? b) as Record<string, unknown>
  return {
    table: view.schema.name,
    key: Object.fromEntries(view.key.map(({ name }) => [name, any[name]])),
    kind,
    ...(b === undefined ? {} : { base: b }),
    ...(t === undefined ? {} : { ours: t }),
    ...(s === undefined ? {} : { theirs: s }),
  }
}
