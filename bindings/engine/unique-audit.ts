// engine/unique-audit.ts: do the rows of a table keep a constraint that is not in force yet? What store.apply asks before it adds one (recovery.md section 14).
//
// Fragments are looked at while others write; rows in memory, and what was hidden meanwhile, in the very step that queues the record.
// Invariant: when find() answers undefined, no two live rows of the table as it is in that step have a tuple in common.

import { DuplicateKeyError } from '../errors.ts'
import { KeyTable, NO_ROW, type Vec } from '../kernels/index.ts'
import { formatKey, type KeyLayout, keyObjectFromBytes, KeyRun, type LiveFragment, type Place, type TableState, type TableView } from '../table/index.ts'
import { lastAt } from './last-at.ts'
import { NOW } from './admission.ts'
import { keyAtNow } from './key-at.ts'
import { keyBytesOf, keyText } from './key-text.ts'
import { tupleOf } from './unique.ts'

/** Two live rows with one tuple. */
export interface SharedTuple {
  readonly tuple: Uint8Array
  readonly places: readonly [Place, Place]
}

/** Tuples that were put together: of a batch of a fragment. */
interface Part {
  /** Number of its first tuple. */
  readonly from: number
  readonly fragment: LiveFragment
  /** Row of the fragment where the batch begins. */
  readonly start: number
  readonly rowOf: Uint32Array | undefined
}

/** @example const audit = new UniqueAudit(table, KeyLayout.unique(schema, ids), seed); do ... while (await audit.look(between)); audit.find() */
export class UniqueAudit {
  private readonly table: TableState
  private readonly layout: KeyLayout
  private readonly seed: number
  private tuples: KeyTable
  private count = 0
  private parts: Part[] = []
  /** Fragments looked at. */
  private seen = new Set<string>()
  /** Rows of each tuple that came more than once, as keyText. */
  private repeats = new Map<string, Place[]>()

  /** @param layout  of columns of the definition as it is now @param seed  unknown to whoever chooses values */
  constructor(table: TableState, layout: KeyLayout, seed: number) {
    this.table = table
    this.layout = layout
    this.seed = seed
    this.tuples = this.newTable()
  }

  private newTable(): KeyTable {
    return new KeyTable(this.layout.stride, { lo: this.seed, hi: ~this.seed })
  }

  /** Reads the fragments that it has not read. @returns whether there were any: others may have come meanwhile */
  async look(between: () => Promise<void> | undefined): Promise<boolean> {
    const { fragments } = this.table.now
    const now = new Set(fragments.map(idOf))
    // Rows that were moved: all of it again.
    if ([...this.seen].some((id) => !now.has(id))) {
      this.tuples = this.newTable()
      this.count = 0
      this.parts = []
      this.seen = new Set()
      this.repeats = new Map()
    }
    const fresh = fragments.filter((fragment) => !this.seen.has(idOf(fragment)))
    for (const fragment of fresh) {
      for (let batch = 0; batch < fragment.reader.batchCount; batch++) {
        await between()
        await this.take(fragment, batch)
      }
      this.seen.add(idOf(fragment))
    }
    return fresh.length > 0
  }

  private async take(fragment: LiveFragment, batch: number): Promise<void> {
    const { layout, table } = this
    const { ref, reader } = fragment
    const vecs = await reader.load(batch, layout.defs)
    const columns: (Vec | undefined)[] = Array.from(table.schema.columns, () => undefined)
    layout.parts.forEach((part, i) => (columns[part.index] = vecs[i]))
    const { keys, rowOf } = layout.tuples(columns, reader.rowsOf(batch))
    if (keys.rows === 0) return
    const part: Part = { from: this.count, fragment, start: batch * ref.batchRows, rowOf }
    this.parts.push(part)
    this.count += keys.rows
    const before = this.tuples.put(keys)
    for (let i = 0; i < keys.rows; i++) {
      if (before[i] === NO_ROW) continue
      const text = keyText(keys.data, keys.start(i), keys.end(i))
      const places = this.repeats.get(text) ?? [this.placeOf(before[i]!)]
      places.push(this.placeOf(part.from + i))
      this.repeats.set(text, places)
    }
  }

  private placeOf(number: number): Place {
    const { fragment, from, start, rowOf } = lastAt(this.parts, number, (part) => part.from)
    return { fragment, row: start + (rowOf === undefined ? number - from : rowOf[number - from]!) }
  }

  /** Everything live now, with what is queued; look() has seen every fragment. */
  find(): SharedTuple | undefined {
    // The objects of fragments are replaced as rows are hidden: those of now tell.
    const now = new Map(this.table.now.fragments.map((fragment) => [idOf(fragment), fragment]))
    const isLive = ({ fragment, row }: Place): boolean => now.get(idOf(fragment!))?.hides.isHidden(row, NOW) === false
    for (const [text, places] of this.repeats) {
      const [a, b] = places.filter(isLive)
      if (a !== undefined && b !== undefined) return { tuple: keyBytesOf(text), places: [a, b] }
    }
    const { layer } = this.table.now
    const memory = layer.unique(this.layout)
    const seen = new Map<string, number>()
    for (const chunk of layer.chunks) {
      const run = new KeyRun(this.layout.stride)
      const rows: number[] = []
      for (let row = chunk.base; row < chunk.base + chunk.rows; row++) {
        const tuple = layer.isLive(row) ? memory.tupleOf(row) : undefined
        if (tuple === undefined) continue
        const text = keyText(tuple)
        const other = seen.get(text)
        if (other !== undefined) return { tuple: tuple.slice(), places: [place(other), place(row)] }
        seen.set(text, row)
        run.push(tuple, 0, tuple.length)
        rows.push(row)
      }
      if (rows.length === 0 || this.count === 0) continue
      const found = this.tuples.find(run)
      for (let i = 0; i < rows.length; i++) {
        if (found[i] === NO_ROW) continue
        const tuple = run.data.slice(run.start(i), run.end(i))
        const older = (this.repeats.get(keyText(tuple)) ?? [this.placeOf(found[i]!)]).find(isLive)
        if (older !== undefined) return { tuple, places: [older, place(rows[i]!)] }
      }
    }
    return undefined
  }

  /** The error for what find() found. */
  async error(view: TableView, { tuple, places }: SharedTuple): Promise<DuplicateKeyError> {
    const { table, layout } = this
    const keys: string[] = []
    for (const each of places) {
      const read = keyAtNow(table, each)
      if (read instanceof Promise) await read
      const key = keyAtNow(table, each)
      if (key !== undefined && !(key instanceof Promise)) keys.push(formatKey(keyObjectFromBytes(view, key)))
    }
    const { text, values, columns } = tupleOf(view, layout, tuple)
    const where = keys.length < 2 ? 'two rows' : `the rows with keys ${keys.join(' and ')}`
    return new DuplicateKeyError(`${table.name}: unique ${text} is in ${where}`, { details: { table: table.name, columns, values, rows: [] } })
  }
}

function place(row: number): Place {
  return { fragment: undefined, row }
}

function idOf({ lsn, ordinal, ref }: LiveFragment): string {
  return `${lsn}.${ordinal}.${ref.digest}`
}
