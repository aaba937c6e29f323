// bench/kernels/predicate.ts: a comparison of a column with a constant to a bitmap, beside a plain loop.
import { compareConst, makeVec, popcount } from '../../bindings/kernels/index.ts'
import { entrant, type KernelSuite, noise, race } from './suite.ts'

const ROWS = 256 * 1024

export async function predicates(suite: KernelSuite): Promise<void> {
  const values = new Int32Array(noise(4 * ROWS, 11).buffer)
  const vec = makeVec({ kind: 'fixed', width: 4 }, ROWS, { values: new Uint8Array(values.buffer) })
  const expected = values.reduce((count, value) => count + (value >= 30 ? 1 : 0), 0)
  const isExpected = (bits: Uint8Array): boolean => popcount(bits, ROWS) === expected
  await race(suite, {
    name: 'predicate.int32-ge-256Ki',
    unit: 'rows/s',
    amount: ROWS,
    ours: { varve: entrant(() => compareConst(vec, 'i32', 'ge', 30), isExpected) },
    peers: {
      js: entrant(() => {
        const bits = new Uint8Array(ROWS / 8)
        for (let i = 0; i < ROWS; i++) if (values[i]! >= 30) bits[i >>> 3]! |= 1 << (i & 7)
        return bits
      }, isExpected),
    },
  })
}
