// bench/kernels/aggregate.ts: sums of whole columns, and sums by one or two columns of few, many and as many values as rows; in batches of 64 Ki rows.
//
// Peers: a loop over typed arrays, with a Map from key to place where it groups (strings lie ready for it). varve hashes, compares and adds exactly; its
// copies into kernel memory are part of every figure. No engine with threads of its own: races count the time of the main thread, which waits for those.
import { GroupedIntSum, GroupTable, makeVec, slice, sumVec, type ValueKind, type Vec } from '../../bindings/kernels/index.ts'
import { randomOf } from '../data.ts'
import { entrant, type KernelSuite, race } from './suite.ts'

const BATCH_ROWS = 65_536

interface Key {
  readonly vec: Vec
  readonly kind: ValueKind
  /** The same for JavaScript. */
  readonly cells: Int32Array | readonly string[]
}

export async function aggregates(suite: KernelSuite): Promise<void> {
  const rows = suite.isQuick ? 100_000 : 1_000_000
  const size = suite.isQuick ? '100k' : '1M'
  const random = randomOf(21)
  const values = Int32Array.from({ length: rows }, () => (random() % 2001) - 1000)
  await whole(suite, size, values)
  const keys = (many: number): Key => intKey(Int32Array.from({ length: rows }, () => random() % many))
  const texts = (many: number): Key => textKey(Array.from({ length: rows }, () => `customer ${random() % many}`))
  await grouped(suite, `aggregate.by-int32-16-${size}`, values, [keys(16)])
  await grouped(suite, `aggregate.by-int32-1k-${size}`, values, [keys(1000)])
  await grouped(suite, `aggregate.by-int32-100k-${size}`, values, [keys(100_000)])
  await grouped(suite, `aggregate.by-int32-each-${size}`, values, [keys(rows)])
  await grouped(suite, `aggregate.by-utf8-1k-${size}`, values, [texts(1000)])
  await grouped(suite, `aggregate.by-two-int32-100x100-${size}`, values, [keys(100), keys(100)])
  await grouped(suite, `aggregate.by-int32-and-utf8-1kx1k-${size}`, values, [keys(1000), texts(1000)])
}

async function whole(suite: KernelSuite, size: string, values: Int32Array): Promise<void> {
  const floats = Float64Array.from(values, (value) => value / 7)
  const total = values.reduce((sum, value) => sum + value, 0)
  const close = (sum: number | bigint): boolean => Math.abs(Number(sum) * 7 - total) < 1e-3
  const ints = numbers(values)
  const doubles = numbers(floats)
  await race(suite, {
    name: `aggregate.sum-int32-${size}`,
    unit: 'rows/s',
    amount: values.length,
    ours: {
      varve: entrant(
        () => sumVec(ints, 'i32'),
        (sum) => sum === total,
      ),
    },
    peers: {
      js: entrant(
        () => loopInts(values),
        (sum) => sum === total,
      ),
    },
  })
  await race(suite, {
    name: `aggregate.sum-float64-${size}`,
    unit: 'rows/s',
    amount: values.length,
    ours: { varve: entrant(() => sumVec(doubles, 'f64'), close) },
    peers: { js: entrant(() => loopFloats(floats), close) },
  })
}

async function grouped(suite: KernelSuite, name: string, values: Int32Array, keys: readonly Key[]): Promise<void> {
  const expected = mapSums(values, keys)
  const vec = numbers(values)
  await race(suite, {
    name,
    unit: 'rows/s',
    amount: values.length,
    ours: {
      varve: entrant(
        () => kernelSums(vec, keys),
        (sums) => sums.length === expected.length && sums.every((sum, group) => sum === expected[group]),
      ),
    },
    peers: {
      'js-map': entrant(
        () => mapSums(values, keys),
        (sums) => sums.length === expected.length,
      ),
    },
  })
}

/** Sums by group, in first-seen order, as varve's scan makes them. */
function kernelSums(values: Vec, keys: readonly Key[]): Float64Array {
  using groups = new GroupTable(keys.map(({ vec, kind }) => ({ kind, layout: vec.layout })))
  const sums = new GroupedIntSum(groups, 'i32')
  for (let from = 0; from < values.length; from += BATCH_ROWS) {
    const to = Math.min(values.length, from + BATCH_ROWS)
    groups.assign(
      keys.map(({ vec }) => slice(vec, from, to)),
      to - from,
    )
    sums.add(slice(values, from, to))
  }
  return Float64Array.from({ length: groups.size }, (_, group) => Number(sums.at(group)))
}

function mapSums(values: Int32Array, [first, second]: readonly Key[]): Float64Array {
  const places = new Map<string | number, number>()
  const sums = new Float64Array(values.length)
  const a = first!.cells
  const b = second?.cells
  for (let i = 0; i < values.length; i++) {
    const key = b === undefined ? a[i]! : typeof b[i] === 'number' ? (a[i] as number) * 2 ** 26 + (b[i] as number) : `${a[i]!}|${b[i]!}`
    let place = places.get(key)
    if (place === undefined) places.set(key, (place = places.size))
    sums[place]! += values[i]!
  }
  return sums.slice(0, places.size)
}

// One for each type, so that neither sees two.
function loopInts(values: Int32Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum
}

function loopFloats(values: Float64Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum
}

function numbers(values: Int32Array | Float64Array): Vec {
  return makeVec({ kind: 'fixed', width: values.BYTES_PER_ELEMENT }, values.length, { values: new Uint8Array(values.buffer) })
}

function intKey(cells: Int32Array): Key {
  return { vec: numbers(cells), kind: 'i32', cells }
}

function textKey(cells: readonly string[]): Key {
  const offsets = new Int32Array(cells.length + 1)
  for (const [i, cell] of cells.entries()) offsets[i + 1] = offsets[i]! + cell.length
  return { vec: makeVec({ kind: 'var' }, cells.length, { values: Buffer.from(cells.join('')), offsets }), kind: 'bytes', cells }
}
