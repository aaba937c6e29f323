// table/find-keys.ts: where the rows of many keys are: the memory layer, then each fragment once, newest first (the join of incoming keys with a table).
//
// Keys of one integer are put in order first: then bounds leave a stretch of them for a fragment, and a sorted fragment is walked once.
// Invariant: the answer for each key is that of point-read.ts.
import { keyColumnHashes, makeVec, NO_ROW, sortIndices } from '../kernels/index.ts'
import type { KeyLayout } from './key-layout.ts'
import type { RowKeys } from './memory-index.ts'
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
  const lists: FoundRows[] = []
  const order = orderOf(keys, layout)
  let asked = order ?? Uint32Array.from({ length: keys.rows }, (_, key) => key)
  const { layer, fragments } = structure
  if (layer.rows > 0) {
    const list = newList(undefined)
    asked = asked.filter((key) => {
      const row = layer.find(keys.data, keys.start(key), keys.end(key), lsn)
      if (row >= 0) put(list, key, row)
      return row < 0
    })
    if (list.rows.length > 0) lists.push(list)
  }
  let hashes: Uint32Array | undefined
  const found = new Uint8Array(keys.rows)
  for (let i = fragments.length - 1; i >= 0 && asked.length > 0; i--) {
    const fragment = fragments[i]!
    const inside = fragment.reader.within(keys, asked, order !== undefined)
    if (inside.length === 0) continue
    await between()
    hashes ??= keyColumnHashes(keys)
    const rows = await fragment.reader.lookupMany(keys, hashes, inside)
    const list = newList(fragment)
    for (let at = 0; at < inside.length; at++) {
      const row = rows[at]!
      if (row === NO_ROW || fragment.hides.isHidden(row, lsn)) continue
      put(list, inside[at]!, row)
      found[inside[at]!] = 1
    }
    if (list.rows.length === 0) continue
    lists.push(list)
    asked = without(asked, found, asked.length - list.rows.length)
  }
  return lists
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

function put(list: List, key: number, row: number): void {
  list.keys.push(key)
  list.rows.push(row)
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
