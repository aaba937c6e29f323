// table/find-keys.ts: where the rows of many keys, or tuples of a unique constraint, are: the memory layer, then each fragment once, newest first (the join of incoming keys with a table).
//
// Keys of one integer are put in order first: then bounds leave a stretch of them for a fragment, and a sorted fragment is walked once.
// Invariant: the answer for each key is that of point-read.ts.
import { keyColumnHashes, makeVec, NO_ROW, sortIndices } from '../kernels/index.ts'
import type { KeyLayout } from './key-layout.ts'
import type { RowKeys } from './memory-index.ts'
import { liveRows } from './point-read.ts'
import type { LiveFragment, Structure } from './table-state.ts'

/** Live rows of one fragment, or of the memory layer (`fragment` undefined): rows[i] holds key number keys[i]. */
export interface FoundRows {
  readonly fragment: LiveFragment | undefined
  readonly rows: readonly number[]
  readonly keys: readonly number[]
}

/** The rows of `keys` as readers at `lsn` see them. @param between  called before each fragment */
export async function findKeys(
  structure: Structure,
  lsn: number,
  keys: RowKeys,
  layout: KeyLayout,
  between: () => Promise<void> | undefined,
): Promise<readonly FoundRows[]> {
  const join = new TableJoin(structure, lsn, keys, layout)
  for (let fragment = join.next(); fragment !== undefined; fragment = join.next()) {
    await between()
    join.take(await fragment.reader.lookupMany(keys, join.hashes, join.inside, layout, liveRows(fragment, lsn, layout)))
  }
  return join.found
}

/** The same from memory; undefined when something must be read first. */
export function findKeysNow(structure: Structure, lsn: number, keys: RowKeys, layout: KeyLayout): readonly FoundRows[] | undefined {
  const join = new TableJoin(structure, lsn, keys, layout)
  for (let fragment = join.next(); fragment !== undefined; fragment = join.next()) {
    const rows = fragment.reader.lookupManyNow(keys, join.hashes, join.inside, layout, liveRows(fragment, lsn, layout))
    if (rows === undefined) return undefined
    join.take(rows)
  }
  return join.found
}

/** Keys on their way through a table: next() names the fragment to ask about the keys `inside`, take() its answers. */
class TableJoin {
  readonly found: FoundRows[] = []
  /** Numbers of the keys that the fragment at hand may hold. */
  inside: Uint32Array = new Uint32Array(0)
  readonly #fragments: readonly LiveFragment[]
  readonly #lsn: number
  readonly #keys: RowKeys
  readonly #layout: KeyLayout
  readonly #isOrdered: boolean
  readonly #isFound: Uint8Array
  #asked: Uint32Array
  #at: number
  #hashes: Uint32Array | undefined

  constructor({ layer, fragments }: Structure, lsn: number, keys: RowKeys, layout: KeyLayout) {
    this.#fragments = fragments
    this.#at = fragments.length
    this.#lsn = lsn
    this.#keys = keys
    this.#layout = layout
    this.#isFound = new Uint8Array(keys.rows)
    const order = fragments.length === 0 ? undefined : orderOf(keys, layout)
    this.#isOrdered = order !== undefined
    this.#asked = order ?? Uint32Array.from({ length: keys.rows }, (_, key) => key)
    if (layer.rows === 0) return
    const list = newList(undefined)
    for (const key of this.#asked) {
      const row = layer.find(keys.data, keys.start(key), keys.end(key), lsn, layout)
      if (row >= 0) this.#put(list, key, row)
    }
    this.#close(list)
  }

  get hashes(): Uint32Array {
    return (this.#hashes ??= keyColumnHashes(this.#keys))
  }

  next(): LiveFragment | undefined {
    while (this.#asked.length > 0 && --this.#at >= 0) {
      const fragment = this.#fragments[this.#at]!
      this.inside = fragment.reader.within(this.#keys, this.#asked, this.#isOrdered, this.#layout)
      if (this.inside.length > 0) return fragment
    }
    return undefined
  }

  /** @param rows  of each key of `inside`, or NO_ROW */
  take(rows: Uint32Array): void {
    const fragment = this.#fragments[this.#at]!
    const list = newList(fragment)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      if (row !== NO_ROW && !fragment.hides.isHidden(row, this.#lsn)) this.#put(list, this.inside[i]!, row)
    }
    this.#close(list)
  }

  #put(list: List, key: number, row: number): void {
    list.keys.push(key)
    list.rows.push(row)
    this.#isFound[key] = 1
  }

  #close(list: List): void {
    if (list.rows.length === 0) return
    this.found.push(list)
    this.#asked = without(this.#asked, this.#isFound, this.#asked.length - list.rows.length)
  }
}

/** Those not found yet, in order. */
function without(asked: Uint32Array, found: Uint8Array, count: number): Uint32Array {
  const left = new Uint32Array(count)
  let at = 0
  for (let i = 0; i < asked.length && at < count; i++) if (found[asked[i]!] === 0) left[at++] = asked[i]!
  return left
}

interface List extends FoundRows {
  readonly rows: number[]
  readonly keys: number[]
}

function newList(fragment: LiveFragment | undefined): List {
  return { fragment, rows: [], keys: [] }
}

/** Numbers of the keys in their order, where that is cheap: one integer. */
function orderOf({ data, rows }: RowKeys, { parts, stride }: KeyLayout): Uint32Array | undefined {
  const { kind } = parts[0]!
  if (parts.length > 1 || stride !== 8 || kind === 'f32' || kind === 'f64' || kind === 'bytes') return undefined
  const values = data.byteOffset % 8 === 0 ? data : data.slice()
  return sortIndices(
    [{ vec: makeVec({ kind: 'fixed', width: 8 }, rows, { values: values.subarray(0, 8 * rows) }), kind: kind.startsWith('i') ? 'i64' : 'u64' }],
    rows,
  )
}
