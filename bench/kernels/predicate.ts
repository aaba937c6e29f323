// bench/kernels/predicate.ts: a column compared with a constant, with another column and with a long list, to bitmaps, beside plain loops.
import { compareColumns, compareConst, inList, makeVec, popcount, type Vec } from '../../bindings/kernels/index.ts'
import { entrant, type KernelSuite, noise, race } from './suite.ts'

const ROWS = 256 * 1024
const LIST = 1000

export async function predicates(suite: KernelSuite): Promise<void> {
  const values = new Int32Array(noise(4 * ROWS, 11).buffer)
  const others = new Int32Array(noise(4 * ROWS, 12).buffer)
  const [vec, other] = [fixed(4, values), fixed(4, others)]
  // Each peer has a loop of its own: one that took the comparison as a function would be slower than what anyone writes.
  await one(
    suite,
    'int32-ge',
    () => compareConst(vec, 'i32', 'ge', 30),
    () => {
      const bits = new Uint8Array(ROWS / 8)
      for (let i = 0; i < ROWS; i++) if (values[i]! >= 30) bits[i >>> 3]! |= 1 << (i & 7)
      return bits
    },
  )
  await one(
    suite,
    'int32-columns-lt',
    () => compareColumns(vec, other, 'i32', 'lt'),
    () => {
      const bits = new Uint8Array(ROWS / 8)
      for (let i = 0; i < ROWS; i++) if (values[i]! < others[i]!) bits[i >>> 3]! |= 1 << (i & 7)
      return bits
    },
  )
  // Four rows of five are in the list.
  const floats = Float64Array.from(values, (value) => ((value >>> 1) % (LIST * 1.25)) / 8)
  const list = Array.from({ length: LIST }, (_, i) => i / 8)
  const set = new Set(list)
  const column = fixed(8, floats)
  await one(
    suite,
    'float64-in-1000',
    () => inList(column, 'f64', list),
    () => {
      const bits = new Uint8Array(ROWS / 8)
      for (let i = 0; i < ROWS; i++) if (set.has(floats[i]!)) bits[i >>> 3]! |= 1 << (i & 7)
      return bits
    },
  )
}

async function one(suite: KernelSuite, name: string, run: () => Uint8Array, js: () => Uint8Array): Promise<void> {
  const expected = js()
  const isExpected = (bits: Uint8Array): boolean => popcount(bits, ROWS) > 0 && Buffer.compare(bits, expected) === 0
  await race(suite, {
    name: `predicate.${name}-256Ki`,
    unit: 'rows/s',
    amount: ROWS,
    ours: { varve: entrant(run, isExpected) },
    peers: { js: entrant(js, isExpected) },
  })
}

function fixed(width: number, { buffer, byteOffset, byteLength }: Int32Array | Float64Array): Vec {
  return makeVec({ kind: 'fixed', width }, ROWS, { values: new Uint8Array(buffer, byteOffset, byteLength) })
}
