// bench/kernels/merge.ts: two sorted runs of 128 Ki rows, int64 and utf8, merged to the order of their rows; peers are the same merge in plain JavaScript.
import { kernels, makeVec, mergeRuns, settleTies, type SortKey } from '../../bindings/kernels/index.ts'
import { randomOf } from '../data.ts'
import { entrant, type KernelSuite, noise, race } from './suite.ts'

const ROWS = 128 * 1024
/** int64 in assembly/arrow-sort.ts. */
const INT64 = 3

export async function merging(suite: KernelSuite): Promise<void> {
  await integers(suite)
  await strings(suite)
}

async function integers(suite: KernelSuite): Promise<void> {
  const a = new BigInt64Array(noise(8 * ROWS, 21).buffer).sort()
  const b = new BigInt64Array(noise(8 * ROWS, 22).buffer).sort()
  const expected = mergeNumbers(a, b)
  const runs = [a, b].map((values): SortKey[] => [{ vec: makeVec({ kind: 'fixed', width: 8 }, ROWS, { values: new Uint8Array(values.buffer) }), kind: 'i64' }])
  const k = kernels()
  // "In memory" starts from the keys as they come: turning them to u64 and checking their order are part of it.
  const raw = suite.room(16 * ROWS)
  k.u8.set(new Uint8Array(a.buffer), raw)
  k.u8.set(new Uint8Array(b.buffer), raw + 8 * ROWS)
  const keys = suite.room(16 * ROWS)
  const merged = suite.room(8 * ROWS)
  await race(suite, {
    name: 'merge.int64-2x128Ki',
    unit: 'rows/s',
    amount: 2 * ROWS,
    ours: {
      'in-memory': entrant(
        () => {
          const x = k.exports
          x.sort_keys_fixed(raw, INT64, 8, 2 * ROWS, 0, keys)
          const isAscending = x.keys_descent(keys, ROWS) === ROWS && x.keys_descent(keys + 8 * ROWS, ROWS) === ROWS
          x.merge_pair(keys, 0, ROWS, ROWS, ROWS, merged, 0)
          return isAscending
        },
        (isAscending) => isAscending && same(k.u32.subarray(merged >>> 2, (merged >>> 2) + 2 * ROWS), expected),
      ),
      'with-copies': entrant(
        () => mergeRuns(runs),
        (order) => same(order, expected),
      ),
    },
    peers: {
      js: entrant(
        () => mergeNumbers(a, b),
        (order) => same(order, expected),
      ),
    },
    targets: { 'in-memory': { js: 2 }, 'with-copies': { js: 2 } },
  })
}

/** Short texts without order in their first bytes, and ones that all begin alike. */
async function strings(suite: KernelSuite): Promise<void> {
  const random = randomOf(23)
  await texts(suite, 'utf8', () => `${random().toString(36)}${random().toString(36)}`)
  await texts(suite, 'utf8-alike', () => `user-${(random() % 1_000_000).toString(36)}-${random() % 97}`)
}

async function texts(suite: KernelSuite, name: string, text: () => string): Promise<void> {
  // Made anew in their order: as a program that reads them has them, one behind the other in memory.
  const run = (): string[] =>
    Array.from({ length: ROWS }, text)
      .toSorted()
      .map((each) => Buffer.from(each).toString('latin1'))
  const a = run()
  const b = run()
  const expected = mergeStrings(a, b)
  const runs = [a, b].map((each): SortKey[] => [{ vec: utf8(each), kind: 'bytes' }])
  const k = kernels()
  const both = utf8([...a, ...b])
  const offsets = suite.place(new Uint8Array(both.offsets!.buffer))
  const data = suite.place(both.values)
  const ends = k.u32.slice(offsets >>> 2, (offsets >>> 2) + 2 * ROWS + 1)
  const compare = (x: number, y: number): number =>
    Buffer.compare(k.u8.subarray(data + ends[x]!, data + ends[x + 1]!), k.u8.subarray(data + ends[y]!, data + ends[y + 1]!))
  const keys = suite.room(16 * ROWS)
  const ties = suite.room(4 * ROWS + 4)
  const merged = suite.room(8 * ROWS)
  const shared = name === 'utf8-alike' ? 'user-'.length : 0
  await race(suite, {
    name: `merge.${name}-2x128Ki`,
    unit: 'rows/s',
    amount: 2 * ROWS,
    ours: {
      'in-memory': entrant(
        () => {
          const x = k.exports
          const isAscending =
            x.keys_behind(offsets, data, data, shared, ROWS, keys) === ROWS &&
            x.keys_behind(offsets + 4 * ROWS, data, data, shared, ROWS, keys + 8 * ROWS) === ROWS
          x.merge_pair(keys, 0, ROWS, ROWS, ROWS, merged, ties)
          settleTies(k, keys, k.u32.subarray(merged >>> 2, (merged >>> 2) + 2 * ROWS), ties, compare)
          return isAscending
        },
        (isAscending) => isAscending && same(k.u32.subarray(merged >>> 2, (merged >>> 2) + 2 * ROWS), expected),
      ),
      'with-copies': entrant(
        () => mergeRuns(runs),
        (order) => same(order, expected),
      ),
    },
    peers: {
      js: entrant(
        () => mergeStrings(a, b),
        (order) => same(order, expected),
      ),
    },
    targets: { 'in-memory': { js: 4 }, 'with-copies': { js: 4 } },
  })
}

function mergeNumbers(a: BigInt64Array, b: BigInt64Array): Uint32Array {
  const out = new Uint32Array(a.length + b.length)
  let i = 0
  let j = 0
  let n = 0
  while (i < a.length && j < b.length) out[n++] = b[j]! < a[i]! ? a.length + j++ : i++
  while (i < a.length) out[n++] = i++
  while (j < b.length) out[n++] = a.length + j++
  return out
}

/** Strings of ASCII: their order by UTF-16 units is that of their bytes. */
function mergeStrings(a: readonly string[], b: readonly string[]): Uint32Array {
  const out = new Uint32Array(a.length + b.length)
  let i = 0
  let j = 0
  let n = 0
  while (i < a.length && j < b.length) out[n++] = b[j]! < a[i]! ? a.length + j++ : i++
  while (i < a.length) out[n++] = i++
  while (j < b.length) out[n++] = a.length + j++
  return out
}

function same(a: Uint32Array, b: Uint32Array): boolean {
  return a.length === b.length && Buffer.compare(asBytes(a), asBytes(b)) === 0
}

function asBytes(values: Uint32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function utf8(texts: readonly string[]): SortKey['vec'] {
  const offsets = new Int32Array(texts.length + 1)
  const parts = texts.map((text) => Buffer.from(text))
  for (const [i, part] of parts.entries()) offsets[i + 1] = offsets[i]! + part.length
  return makeVec({ kind: 'var' }, texts.length, { values: new Uint8Array(Buffer.concat(parts)), offsets })
}
