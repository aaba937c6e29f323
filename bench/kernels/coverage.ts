// bench/kernels/coverage.ts: sets of rows: bitmaps of 1 MiB and lists of 10,000 ranges, beside plain loops and roaring-wasm.
//
// One call goes through several pairs of range lists: with a single pair the branch predictor learns the whole merge by heart, which no real input grants.
// Roaring's sets lie in its own Wasm memory: "in-memory" is the like of it. Its result is made and given back in the timed part.
import { Coverage, kernels } from '../../bindings/kernels/index.ts'
import { randomOf } from '../data.ts'
import { entrant, type Entrant, type KernelSuite, MIB, noise, race } from './suite.ts'

const RANGES = 10_000
const LISTS = 16
/** Gaps and ranges have up to this many rows. */
const SPREAD = 500
const AND_CARD_TARGETS = { 'in-memory': { js: 5 } }
const RANGES_TARGETS = { 'in-memory': { 'roaring-wasm': 1.3 }, 'with-copies': { 'roaring-wasm': 1.3 } }

/** What is used of roaring-wasm's RoaringBitmap32. */
interface Roaring {
  readonly size: number
  addRange(start: number, end: number): unknown
  addMany(rows: Uint32Array): unknown
  andCardinality(other: Roaring): number
  runOptimize(): unknown
  dispose(): unknown
}

interface RoaringClass {
  new (): Roaring
  and(a: Roaring, b: Roaring): Roaring
}

export async function coverage(suite: KernelSuite): Promise<void> {
  const loaded = (await suite.peer('roaring-wasm')) as { roaringLibraryInitialize(): Promise<void>; RoaringBitmap32: RoaringClass } | undefined
  await loaded?.roaringLibraryInitialize()
  await bitmaps(suite, loaded?.RoaringBitmap32)
  await ranges(suite, loaded?.RoaringBitmap32)
}

async function bitmaps(suite: KernelSuite, RoaringBitmap32: RoaringClass | undefined): Promise<void> {
  const k = kernels()
  const [a, b] = [noise(MIB, 21), noise(MIB, 22)]
  const [left, right] = [Coverage.ofBitmap(a, 8 * MIB), Coverage.ofBitmap(b, 8 * MIB)]
  const [p, q] = [suite.place(a), suite.place(b)]
  const [x, y] = [new Uint32Array(a.buffer), new Uint32Array(b.buffer)]
  const expected = left.intersect(right).count
  const isExpected = (count: number): boolean => count === expected
  let roaring: Entrant | undefined
  if (RoaringBitmap32 !== undefined) {
    const [s, t] = [new RoaringBitmap32(), new RoaringBitmap32()]
    s.addMany(left.toRows())
    t.addMany(right.toRows())
    roaring = entrant(() => s.andCardinality(t), isExpected)
  }
  await race(suite, {
    name: 'coverage.and-card-1MiB',
    unit: 'MB/s',
    amount: 2,
    ours: {
      'in-memory': entrant(() => k.exports.bits_and_card(p, q, MIB), isExpected),
      'with-copies': entrant(() => left.intersectionCount(right), isExpected),
    },
    peers: { js: entrant(() => commonBits(x, y), isExpected), 'roaring-wasm': roaring },
    targets: AND_CARD_TARGETS,
  })
}

async function ranges(suite: KernelSuite, RoaringBitmap32: RoaringClass | undefined): Promise<void> {
  const k = kernels()
  const random = randomOf(23)
  const sets = Array.from({ length: LISTS }, () => rangesFrom(random))
  const lists = sets.map((set) => set.toRanges())
  const pairs = sets.map((set, i) => [set, sets[(i + 1) % LISTS]!] as const)
  const wordPairs = lists.map((list, i) => [list, lists[(i + 1) % LISTS]!] as const)
  const places = lists.map((list) => suite.place(new Uint8Array(list.buffer)))
  const out = suite.room(2 * RANGES * 8)
  const expected = pairs.reduce((sum, [a, b]) => sum + a.intersect(b).rangeCount, 0)
  const isExpected = (found: number): boolean => found === expected
  let roaring: Entrant | undefined
  if (RoaringBitmap32 !== undefined) {
    const made = sets.map((set) => {
      const one = new RoaringBitmap32()
      for (const [start, end] of set.ranges()) one.addRange(start, end)
      one.runOptimize()
      return one
    })
    const common = (i: number): Roaring => RoaringBitmap32.and(made[i]!, made[(i + 1) % LISTS]!)
    roaring = entrant(
      () => {
        for (let i = 0; i < LISTS; i++) common(i).dispose()
      },
      () => pairs.every(([a, b], i) => a.intersectionCount(b) === common(i).size),
    )
  }
  await race(suite, {
    name: 'coverage.ranges-and-10k',
    unit: 'ranges/s',
    amount: LISTS * 2 * RANGES,
    ours: {
      'in-memory': entrant(() => {
        let found = 0
        for (let i = 0; i < LISTS; i++) found += k.exports.ranges_and(places[i]!, RANGES, places[(i + 1) % LISTS]!, RANGES, out)
        return found
      }, isExpected),
      'with-copies': entrant(() => pairs.reduce((sum, [a, b]) => sum + a.intersect(b).rangeCount, 0), isExpected),
    },
    peers: {
      js: entrant(() => wordPairs.reduce((sum, [a, b]) => sum + commonRanges(a, b).length / 2, 0), isExpected),
      'roaring-wasm': roaring,
    },
    targets: RANGES_TARGETS,
  })
}

function rangesFrom(random: () => number): Coverage {
  const ranges: [number, number][] = []
  let at = 0
  for (let i = 0; i < RANGES; i++) {
    const start = at + 1 + (random() % SPREAD)
    at = start + 1 + (random() % SPREAD)
    ranges.push([start, at])
  }
  return Coverage.ofRanges(ranges)
}

function commonBits(a: Uint32Array, b: Uint32Array): number {
  let count = 0
  for (let i = 0; i < a.length; i++) {
    let x = a[i]! & b[i]!
    x -= (x >>> 1) & 0x55555555
    x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
    count += Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
  }
  return count
}

function commonRanges(a: Uint32Array, b: Uint32Array): Uint32Array {
  const out = new Uint32Array(a.length + b.length)
  let n = 0
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const start = Math.max(a[i]!, b[j]!)
    const end = Math.min(a[i + 1]!, b[j + 1]!)
    if (start < end) {
      out[n++] = start
      out[n++] = end
    }
    if (a[i + 1]! <= b[j + 1]!) i += 2
    else j += 2
  }
  return out.subarray(0, n)
}
