// bench/kernels/join.ts: keys: canonical bytes and hashes of tuples, tables of keys and joins, a fragment's key index, searches in a sorted column; XXH64 of a
// column.
//
// Peers: a Map or Set of bigints, and the same work row by row in plain TypeScript: as the engine did it before (test/kernel/oracles, and table/ where single
// keys still go that way); for XXH64 the package xxhash-wasm, one call a value.
import { decodeKeyIndex, encodeKeyIndex } from '../../bindings/indexes/index.ts'
import {
  joinKeys,
  type KeyColumn,
  keyHashes,
  KeyTable,
  makeVec,
  NO_ROW,
  repeatedKeys,
  searchWords64,
  xxh3Var,
  xxh64Column,
} from '../../bindings/kernels/index.ts'
import { searchWords } from '../../bindings/table/key-search.ts'
import { hashKey, KeyRun, MemoryIndex } from '../../bindings/table/memory-index.ts'
import { oracleKeyIndex } from '../../test/kernel/oracles/key-buckets.ts'
import { KeyBytes } from '../../test/kernel/oracles/key-bytes.ts'
import { entrant, type KernelSuite, noise, race } from './suite.ts'

const BATCH = 65_536

interface XxhashWasm {
  h64Raw(bytes: Uint8Array, seed?: bigint): bigint
}

export async function joins(suite: KernelSuite): Promise<void> {
  await tuples(suite)
  for (const rows of suite.isQuick ? [200_000] : [200_000, 1_000_000]) await tables(suite, rows)
  await join(suite)
  await index(suite)
  await search(suite)
  await xxh64s(suite)
}

/** Keys (utf8, int32) of 64 Ki rows: canonical bytes and their XXH3. */
async function tuples(suite: KernelSuite): Promise<void> {
  const texts = Array.from({ length: BATCH }, (_, i) => Buffer.from(`customer/${i >> 2}`))
  const offsets = new Int32Array(BATCH + 1)
  texts.forEach((text, i) => (offsets[i + 1] = offsets[i]! + text.length))
  const vecs = [
    makeVec({ kind: 'var' }, BATCH, { values: new Uint8Array(Buffer.concat(texts)), offsets }),
    makeVec({ kind: 'fixed', width: 4 }, BATCH, { values: new Uint8Array(Int32Array.from({ length: BATCH }, (_, i) => i & 3).buffer) }),
  ]
  const parts = [
    { index: 0, kind: 'bytes' as const, bytes: 0 },
    { index: 1, kind: 'i32' as const, bytes: 8 },
  ]
  const expected = keyHashes(vecs, ['bytes', 'i32'], BATCH)
  await race(suite, {
    name: 'join.hash-tuples-64Ki',
    unit: 'rows/s',
    amount: BATCH,
    ours: {
      varve: entrant(
        () => keyHashes(vecs, ['bytes', 'i32'], BATCH),
        (hashes) => hashes.length === 2 * BATCH,
      ),
    },
    peers: {
      'row by row': entrant(
        () => {
          const keys = new KeyBytes(parts, vecs, BATCH)
          return xxh3Var(keys.offsets, keys.data, BATCH)
        },
        (hashes) => same(hashes, expected),
      ),
    },
  })
}

/** Random distinct int64 keys, put in batches of 64 Ki, then all of them asked for. */
async function tables(suite: KernelSuite, rows: number): Promise<void> {
  const data = noise(8 * rows, 11)
  const numbers = new BigUint64Array(data.buffer)
  const batches = batchesOf(data, rows)
  const size = rows >= 1_000_000 ? `${rows / 1_000_000}M` : `${rows / 1000}k`
  const build = (): KeyTable => {
    const table = new KeyTable(8, { lo: 1, hi: 2 })
    for (const batch of batches) table.put(batch)
    return table
  }
  const run = new KeyRun(8)
  run.pushMany({ rows, stride: 8, data, ends: undefined })
  const buildIndex = (): MemoryIndex => {
    const made = new MemoryIndex((ref, bytes, start, end) => run.equals(ref, bytes, start, end))
    for (let i = 0; i < rows; i++) made.put(hashKey(data, 8 * i, 8 * i + 8, 77), data, 8 * i, 8 * i + 8, i)
    return made
  }
  await race(suite, {
    name: `join.put-${size}`,
    unit: 'keys/s',
    amount: rows,
    ours: { varve: entrant(build, (table) => table.size === rows) },
    peers: {
      'js Map': entrant(
        () => {
          const map = new Map<bigint, number>()
          for (let i = 0; i < rows; i++) map.set(numbers[i]!, i)
          return map
        },
        (map) => map.size === rows,
      ),
      'row by row': entrant(buildIndex, (made) => made.find(hashKey(data, 0, 8, 77), data, 0, 8) === 0),
    },
  })
  const table = build()
  const map = new Map(Array.from(numbers, (number, i) => [number, i] as const))
  const made = buildIndex()
  await race(suite, {
    name: `join.find-${size}`,
    unit: 'keys/s',
    amount: rows,
    ours: {
      varve: entrant(
        () => batches.map((batch) => table.find(batch)),
        (found) => found.every((each, b) => each.every((row, i) => row === b * BATCH + i)),
      ),
    },
    peers: {
      'js Map': entrant(
        () => Uint32Array.from(numbers, (number) => map.get(number)!),
        (found) => found.every((row, i) => row === i),
      ),
      'row by row': entrant(
        () => Uint32Array.from({ length: rows }, (_, i) => made.find(hashKey(data, 8 * i, 8 * i + 8, 77), data, 8 * i, 8 * i + 8)),
        (found) => found.every((row, i) => row === i),
      ),
    },
  })
}

/** 64 Ki keys against 64 Ki, half of them there; 4 Ki keys against themselves. */
async function join(suite: KernelSuite): Promise<void> {
  const data = noise(12 * BATCH, 12)
  const build = columnOf(data.slice(0, 8 * BATCH))
  const probe = columnOf(data.slice(4 * BATCH))
  const numbers = (keys: KeyColumn): BigUint64Array => new BigUint64Array(keys.data.buffer as ArrayBuffer)
  const [theirs, asked] = [numbers(build), numbers(probe)]
  await race(suite, {
    name: 'join.64Ki-with-64Ki',
    unit: 'keys/s',
    amount: BATCH,
    ours: {
      varve: entrant(
        () => joinKeys(build, probe).rows,
        (rows) => rows.filter((row) => row !== NO_ROW).length === BATCH / 2,
      ),
    },
    peers: {
      'js Map': entrant(
        () => {
          const map = new Map<bigint, number>()
          for (let i = 0; i < BATCH; i++) map.set(theirs[i]!, i)
          return Uint32Array.from(asked, (key) => map.get(key) ?? NO_ROW)
        },
        (rows) => rows.filter((row) => row !== NO_ROW).length === BATCH / 2,
      ),
    },
  })
  const few = columnOf(data.slice(0, 8 * 4096))
  await race(suite, {
    name: 'join.repeated-4Ki',
    unit: 'keys/s',
    amount: 4096,
    ours: {
      varve: entrant(
        () => repeatedKeys(few),
        (found) => found === undefined,
      ),
    },
    peers: {
      'js Set': entrant(
        () => new Set(theirs.subarray(0, 4096)).size,
        (distinct) => distinct === 4096,
      ),
    },
  })
}

/** The buckets of 256 Ki rows: built, and 64 Ki hashes asked, half of them there. */
async function index(suite: KernelSuite): Promise<void> {
  const rows = 4 * BATCH
  const hashes = new Uint32Array(noise(8 * rows, 13).buffer)
  const expected = oracleKeyIndex(hashes, rows)
  await race(suite, {
    name: 'join.index-build-256Ki',
    unit: 'rows/s',
    amount: rows,
    ours: {
      varve: entrant(
        () => encodeKeyIndex(hashes, rows, false),
        (file) => Buffer.compare(file, expected) === 0,
      ),
    },
    peers: {
      'row by row': entrant(
        () => oracleKeyIndex(hashes, rows),
        (file) => Buffer.compare(file, expected) === 0,
      ),
    },
  })
  const made = decodeKeyIndex(expected, rows)
  const asked = Uint32Array.from([...hashes.subarray(0, BATCH), ...new Uint32Array(noise(4 * BATCH, 14).buffer)])
  const { count } = made.probeMany(asked, BATCH)
  await race(suite, {
    name: 'join.index-probe-64Ki',
    unit: 'hashes/s',
    amount: BATCH,
    ours: {
      varve: entrant(
        () => made.probeMany(asked, BATCH).count,
        (found) => found === count && count >= BATCH / 2,
      ),
    },
    peers: {
      'one by one': entrant(
        () => {
          let found = 0
          for (let i = 0; i < BATCH; i++) found += made.probe(asked[2 * i]!, asked[2 * i + 1]!)
          return found
        },
        (found) => found === count,
      ),
    },
  })
}

/** 4 Ki keys in order and 4 Ki in none, in a column of 64 Ki. */
async function search(suite: KernelSuite): Promise<void> {
  const column = new Uint32Array(new BigInt64Array(noise(8 * BATCH, 15).buffer).sort().buffer)
  const ordered = new Uint32Array(8192)
  for (let i = 0; i < 4096; i++) ordered.set(column.subarray(32 * i, 32 * i + 2), 2 * i)
  const shuffled = ordered.slice()
  for (let i = 0; i < 4096; i++) {
    const from = (i * 1597) % 4096
    shuffled.set(ordered.subarray(2 * from, 2 * from + 2), 2 * i)
  }
  for (const [name, keys] of Object.entries({ ordered, shuffled })) {
    const bytes = new Uint8Array(keys.buffer)
    const expected = Uint32Array.from({ length: 4096 }, (_, i) => searchWords(column, true, bytes.subarray(8 * i, 8 * i + 8)))
    await race(suite, {
      name: `join.search-4Ki-${name}`,
      unit: 'keys/s',
      amount: 4096,
      ours: {
        varve: entrant(
          () => searchWords64(column, true, keys),
          (rows) => same(rows, expected),
        ),
      },
      peers: {
        'one by one': entrant(
          () => Uint32Array.from({ length: 4096 }, (_, i) => searchWords(column, true, bytes.subarray(8 * i, 8 * i + 8))),
          (rows) => same(rows, expected) && !rows.includes(NO_ROW),
        ),
      },
    })
  }
}

/** XXH64 of 64 Ki values of 8 bytes. */
async function xxh64s(suite: KernelSuite): Promise<void> {
  const make = (await suite.peer('xxhash-wasm')) as { default: () => Promise<XxhashWasm> } | undefined
  const other = await make?.default()
  const values = noise(8 * BATCH, 16)
  const vec = makeVec({ kind: 'fixed', width: 8 }, BATCH, { values })
  const expected = xxh64Column(vec)
  await race(suite, {
    name: 'join.xxh64-column-64Ki',
    unit: 'values/s',
    amount: BATCH,
    ours: {
      varve: entrant(
        () => xxh64Column(vec),
        (hashes) => hashes.length === 2 * BATCH,
      ),
    },
    peers: {
      'xxhash-wasm':
        other &&
        entrant(
          () => {
            const hashes = new BigUint64Array(BATCH)
            for (let i = 0; i < BATCH; i++) hashes[i] = other.h64Raw(values.subarray(8 * i, 8 * i + 8))
            return hashes
          },
          (hashes) => same(new Uint32Array(hashes.buffer), expected),
        ),
    },
  })
}

function columnOf(data: Uint8Array): KeyColumn {
  return { rows: data.length / 8, stride: 8, data, ends: undefined }
}

function batchesOf(data: Uint8Array, rows: number): readonly KeyColumn[] {
  const batches: KeyColumn[] = []
  for (let at = 0; at < rows; at += BATCH) batches.push(columnOf(data.subarray(8 * at, 8 * Math.min(rows, at + BATCH))))
  return batches
}

function same(a: Uint32Array, b: Uint32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
