// bench/kernels/filter.ts: 256 Ki rows of int32 and int64, a random half of them kept, beside a plain loop and apache-arrow (get of each row, a builder).
import { Int32, Int64, makeBuilder, makeVector, type Vector } from 'apache-arrow'

import { filter, kernels, makeVec } from '../../bindings/kernels/index.ts'
import { entrant, type KernelSuite, noise, race } from './suite.ts'

const ROWS = 256 * 1024
const TARGETS = { js: 10, 'apache-arrow': 60 }

export async function filtering(suite: KernelSuite): Promise<void> {
  const selection = noise(ROWS / 8, 7)
  const kept = Array.from({ length: ROWS }, (_, i) => i).filter((i) => isSet(selection, i))
  const numbers = new Int32Array(noise(4 * ROWS, 8).buffer)
  const bigs = new BigInt64Array(noise(8 * ROWS, 9).buffer)
  await one(suite, { name: 'int32', width: 4, values: numbers, selection, kept, vector: makeVector(numbers), type: new Int32() })
  await one(suite, { name: 'int64', width: 8, values: bigs, selection, kept, vector: makeVector(bigs), type: new Int64() })
}

interface Column {
  readonly name: string
  readonly width: 4 | 8
  readonly values: Int32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>
  readonly selection: Uint8Array
  readonly kept: readonly number[]
  readonly vector: Vector
  readonly type: Int32 | Int64
}

async function one(suite: KernelSuite, { name, width, values, selection, kept, vector, type }: Column): Promise<void> {
  const k = kernels()
  const bytes = new Uint8Array(values.buffer)
  const vec = makeVec({ kind: 'fixed', width }, ROWS, { values: bytes })
  const p = suite.place(bytes)
  const bits = suite.place(selection)
  const out = suite.room(ROWS * width + 16)
  const expected = values.filter((_: unknown, i: number) => isSet(selection, i))
  const expectedBytes = new Uint8Array(expected.buffer)
  const isExpected = (found: Uint8Array): boolean => Buffer.compare(found, expectedBytes) === 0
  await race(suite, {
    name: `filter.${name}-256Ki-half`,
    unit: 'rows/s',
    amount: ROWS,
    ours: {
      'in-memory': entrant(
        () => (width === 4 ? k.exports.filter_32(p, bits, ROWS, out) : k.exports.filter_64(p, bits, ROWS, out)),
        (count) => count === kept.length && isExpected(k.u8.subarray(out, out + count * width)),
      ),
      'with-copies': entrant(
        () => filter(vec, selection),
        (made) => made.length === kept.length && isExpected(made.values.subarray(0, made.length * width)),
      ),
    },
    peers: {
      js: entrant(
        () => (width === 4 ? pick32(values as Int32Array, selection, kept.length) : pick64(values as BigInt64Array, selection, kept.length)),
        (made) => isExpected(new Uint8Array(made.buffer)),
      ),
      'apache-arrow': entrant(
        () => rebuild(vector, type, selection),
        (made) => made.length === kept.length && made.get(kept.length - 1) === expected.at(-1),
      ),
    },
    targets: { 'in-memory': TARGETS, 'with-copies': TARGETS },
  })
}

function isSet(bits: Uint8Array, i: number): boolean {
  return ((bits[i >>> 3]! >>> (i & 7)) & 1) === 1
}

function pick32(values: Int32Array, bits: Uint8Array, count: number): Int32Array<ArrayBuffer> {
  const out = new Int32Array(count)
  let n = 0
  for (let i = 0; i < values.length; i++) if ((bits[i >>> 3]! >>> (i & 7)) & 1) out[n++] = values[i]!
  return out
}

function pick64(values: BigInt64Array, bits: Uint8Array, count: number): BigInt64Array<ArrayBuffer> {
  const out = new BigInt64Array(count)
  let n = 0
  for (let i = 0; i < values.length; i++) if ((bits[i >>> 3]! >>> (i & 7)) & 1) out[n++] = values[i]!
  return out
}

/** As a user of apache-arrow filters: get each row, append it to a builder. */
function rebuild(vector: Vector, type: Int32 | Int64, bits: Uint8Array): Vector {
  const builder = makeBuilder({ type, nullValues: [null] })
  for (let i = 0; i < vector.length; i++) if ((bits[i >>> 3]! >>> (i & 7)) & 1) builder.append(vector.get(i))
  return builder.finish().toVector()
}
