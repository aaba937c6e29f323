// proof/hashes.ts: cases of xxh3.ts, xxh32.ts, crc32c.ts, sha256.ts, sha256-x4.ts and bloom.ts.
import { createHash } from 'node:crypto'

import { OracleBloom } from '../oracles/bloom.ts'
import { oracleCrc32c } from '../oracles/crc32c.ts'
import { oracleSha256Blocks } from '../oracles/sha256.ts'
import { oracleXxh3, oracleXxh32 } from '../oracles/xxh3.ts'
import { oracleXxh64 } from '../oracles/xxh64.ts'
import { bitAt, bitsOf, bytesOf, type Proofs, type Random, randomStrings, u32s, u64s } from './harness.ts'
import type { Case } from './harness.ts'

/** Readable no further than its own end. */
function exact(bytes: Uint8Array): { bytes: Uint8Array; readable: number } {
  return { bytes, readable: bytes.length }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest())
}

const hashes = new Map<bigint, bigint>()

/** XXH3 of eight bytes; the oracle is slow, so it is asked once. */
function hashOf64(value: bigint): bigint {
  const key = BigInt.asUintN(64, value)
  let hash = hashes.get(key)
  if (hash === undefined) hashes.set(key, (hash = oracleXxh3(u64s([key]))))
  return hash
}

/** n integers of a small pool. */
function pooled(n: number, random: Random, width: number, signed: boolean): bigint[] {
  const bits = width * 8
  const pool = [0n, 1n, -1n, 1n << BigInt(bits - 1), ...Array.from({ length: 20 }, (_, i) => BigInt(i * 2654435761) * 0x1_0001_0001n)]
  return Array.from({ length: n }, () => (signed ? BigInt.asIntN : BigInt.asUintN)(bits, pool[random.below(pool.length)]!))
}

function packed(values: readonly bigint[], width: number): Uint8Array {
  const out = new Uint8Array(values.length * width)
  for (const [k, value] of values.entries()) out.set(u64s([value]).subarray(0, width), k * width)
  return out
}

/** Messages back to back in one buffer, and the (offset, bytes) pairs; offsets are addresses, so they are written when the place is known. */
function pairsOf(
  lengths: readonly number[],
  random: Random,
): { data: Uint8Array; messages: Uint8Array[]; pairs: Uint8Array; write(view: DataView, data: number, pairs: number): void } {
  const messages = lengths.map((length) => bytesOf(random, length))
  const data = new Uint8Array(Buffer.concat(messages))
  return {
    data,
    messages,
    pairs: new Uint8Array(lengths.length * 8),
    write: (view, at, pairs) => {
      let start = at
      for (const [i, { length }] of messages.entries()) {
        view.setUint32(pairs + i * 8, start, true)
        view.setUint32(pairs + i * 8 + 4, length, true)
        start += length
      }
    },
  }
}

/** Lengths of messages: one to nine of n bytes and others; five of n bytes, of which four go in step, amid others whose lanes wait meanwhile. */
function mixesOf(n: number, random: Random): number[][] {
  const others = (count: number): number[] => Array.from({ length: count }, () => random.below(300))
  return [
    [n, ...others(n % 9)],
    [...others(n % 4), ...Array.from({ length: 5 }, () => n), ...others(n % 3)],
  ]
}

/** Frames with random headers; record_hashes looks at `length` and `local` only. */
function framesOf(lengths: readonly number[], random: Random): { data: Uint8Array; offsets: number[]; digests: Uint8Array[] } {
  const offsets: number[] = []
  const digests: Uint8Array[] = []
  const parts: Uint8Array[] = []
  let at = 0
  for (const length of lengths) {
    const frame = bytesOf(random, (32 + length + 7) & ~7)
    new DataView(frame.buffer).setUint32(8, length, true)
    const masked = frame.slice(8, 32 + length)
    masked.fill(0, 6, 8)
    digests.push(sha256(masked))
    offsets.push(at)
    parts.push(frame)
    at += frame.length
  }
  return { data: new Uint8Array(Buffer.concat(parts)), offsets, digests }
}

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.slice().buffer)
const bytesOfWords = (state: Uint32Array): Uint8Array => new Uint8Array(state.slice().buffer)

export const HASHES: Proofs = {
  *xxh3(n, random) {
    for (const seed of [0n, 0x9e3779b185ebca8dn]) {
      const p = bytesOf(random, n)
      const call: Case['call'] = (x, at) => x.xxh3(at[0]!, n, Number(seed & 0xffffffffn), Number(seed >> 32n), at[1]!)
      yield { inputs: [exact(p)], outputs: [{ expected: u64s([oracleXxh3(p, seed)]) }], call }
    }
  },
  *xxh3_batch(n, random) {
    const made = pairsOf([n, 0, n >> 1, 3].slice(0, 1 + (n % 4)), random)
    const outputs = [{ expected: u64s(made.messages.map((message) => oracleXxh3(message))) }]
    const call: Case['call'] = (x, at) => x.xxh3_batch(at[1]!, made.messages.length, at[2]!)
    yield { inputs: [exact(made.data), exact(made.pairs)], outputs, call, addresses: (view, at) => made.write(view, at[0]!, at[1]!) }
  },
  *xxh3_fixed(n, random) {
    const p8 = pooled(n, random, 8, false)
    yield { inputs: [exact(packed(p8, 8))], outputs: [{ expected: u64s(p8.map(hashOf64)) }], call: (x, at) => x.xxh3_fixed(at[0]!, 8, n, at[1]!) }
    // A value of n bytes, and two of them.
    const p = bytesOf(random, n * 2)
    const expected = u64s([oracleXxh3(p.subarray(0, n)), oracleXxh3(p.subarray(n))])
    yield { inputs: [exact(p)], outputs: [{ expected }], call: (x, at) => x.xxh3_fixed(at[0]!, n, 2, at[1]!) }
  },
  *xxh3_ints(n, random) {
    for (const width of [1, 2, 4, 8]) {
      for (const signed of [0, 1]) {
        const values = pooled(n, random, width, signed === 1)
        const call: Case['call'] = (x, at) => x.xxh3_ints(at[0]!, width, signed, n, at[1]!)
        yield { inputs: [exact(packed(values, width))], outputs: [{ expected: u64s(values.map(hashOf64)) }], call }
      }
    }
  },
  *xxh3_floats(n, random) {
    const some = [0, -0, 1, -1.5, NaN, Infinity, 2 ** 100, -(2 ** -140)]
    const bits = (value: number): bigint => {
      const view = new DataView(new ArrayBuffer(8))
      view.setFloat64(0, value)
      return Number.isNaN(value) ? 0x7ff8000000000000n : value === 0 ? 0n : view.getBigUint64(0)
    }
    for (const width of [4, 8]) {
      const values = Array.from({ length: n }, () => some[random.below(some.length)]!)
      const array = width === 4 ? Float32Array.from(values) : Float64Array.from(values)
      const p = new Uint8Array(array.buffer)
      // NaNs of any sign and payload are one.
      for (let i = 0; i < n; i++) if (Number.isNaN(values[i]!)) p[i * width + width - 1]! |= random.below(2) << 7
      const expected = u64s([...array].map((value) => hashOf64(bits(value))))
      yield { inputs: [exact(p)], outputs: [{ expected }], call: (x, at) => x.xxh3_floats(at[0]!, width, n, at[1]!) }
    }
  },
  *xxh3_bools(n, random) {
    const p = bytesOf(random, Math.ceil(n / 8))
    const one = [oracleXxh3(Uint8Array.of(0)), oracleXxh3(Uint8Array.of(1))]
    const expected = u64s(Array.from({ length: n }, (_, i) => one[bitAt(p, i)]!))
    yield { inputs: [exact(p)], outputs: [{ expected }], call: (x, at) => x.xxh3_bools(at[0]!, n, at[1]!) }
  },
  *xxh3_var(n, random) {
    const { rows, offsets, data } = randomStrings(n % 40, random, n)
    const expected = u64s(rows.map((row) => oracleXxh3(row)))
    yield { inputs: [exact(offsets), exact(data)], outputs: [{ expected }], call: (x, at) => x.xxh3_var(at[0]!, at[1]!, rows.length, at[2]!) }
  },
  *xxh64(n, random) {
    for (const seed of [0n, 0x9e3779b185ebca8dn]) {
      const p = bytesOf(random, n)
      const call: Case['call'] = (x, at) => x.xxh64(at[0]!, n, Number(seed & 0xffffffffn), Number(seed >> 32n), at[1]!)
      yield { inputs: [exact(p)], outputs: [{ expected: u64s([oracleXxh64(p, seed)]) }], call }
    }
  },
  *xxh64_fixed(n, random) {
    for (const [width, count] of [
      [8, n % 20],
      [4, n % 17],
      [n, 2],
    ] as const) {
      const p = bytesOf(random, width * count)
      const expected = u64s(Array.from({ length: count }, (_, i) => oracleXxh64(p.subarray(i * width, (i + 1) * width))))
      yield { inputs: [exact(p)], outputs: [{ expected }], call: (x, at) => x.xxh64_fixed(at[0]!, width, count, at[1]!) }
    }
  },
  *xxh64_var(n, random) {
    const { rows, offsets, data } = randomStrings(n % 40, random, n)
    const expected = u64s(rows.map((row) => oracleXxh64(row)))
    yield { inputs: [exact(offsets), exact(data)], outputs: [{ expected }], call: (x, at) => x.xxh64_var(at[0]!, at[1]!, rows.length, at[2]!) }
  },
  *xxh32(n, random) {
    const p = bytesOf(random, n)
    yield { inputs: [exact(p)], outputs: [], call: (x, at) => x.xxh32(at[0]!, n, 0), result: oracleXxh32(p) }
  },

  *crc32c(n, random) {
    for (const [length, before] of [
      [n, 0],
      [n, 0xdeadbeef],
      // The fold begins at 8 KiB; a few of its lengths here, all edges in crc32c.test.ts.
      ...(n % 16 === 0 ? [[8192 + n, 0] as const, [16_384 + 2 * n, 0x12345678] as const] : []),
    ] as const) {
      const p = bytesOf(random, length)
      yield { inputs: [exact(p)], outputs: [], call: (x, at) => x.crc32c(before, at[0]!, length), result: oracleCrc32c(p, before) }
    }
  },
  *crc32c_combine(n, random) {
    const [a, b] = [bytesOf(random, 1 + (n % 7)), bytesOf(random, n)]
    const result = oracleCrc32c(new Uint8Array(Buffer.concat([a, b])))
    yield { inputs: [], outputs: [], call: (x) => x.crc32c_combine(oracleCrc32c(a), oracleCrc32c(b), n), result }
  },

  *sha256(n, random) {
    const [before, p] = [bytesOf(random, 32), bytesOf(random, 64 * (n % 9))]
    const expected = bytesOfWords(oracleSha256Blocks(words(before), p))
    yield { inputs: [exact(p)], outputs: [{ before, expected }], call: (x, at) => x.sha256(at[1]!, at[0]!, n % 9) }
  },
  *sha256_x4(n, random) {
    const states = Array.from({ length: 4 }, () => words(bytesOf(random, 32)))
    const messages = states.map(() => bytesOf(random, 64 * (n % 5)))
    const wordMajor = (lanes: readonly Uint32Array[]): Uint8Array => u32s(Array.from({ length: 32 }, (_, i) => lanes[i & 3]![i >> 2]!))
    const expected = wordMajor(states.map((state, lane) => oracleSha256Blocks(state, messages[lane]!)))
    const call: Case['call'] = (x, at) => x.sha256_x4(at[4]!, at[0]!, at[1]!, at[2]!, at[3]!, n % 5)
    yield { inputs: messages.map(exact), outputs: [{ before: wordMajor(states), expected }], call }
  },
  *sha256_digest(n, random) {
    const p = bytesOf(random, n)
    yield { inputs: [exact(p)], outputs: [{ expected: sha256(p) }], call: (x, at) => x.sha256_digest(at[0]!, n, at[1]!) }
  },
  *sha256_batch(n, random) {
    for (const lengths of mixesOf(n, random)) {
      const made = pairsOf(lengths, random)
      const outputs = [{ expected: new Uint8Array(Buffer.concat(made.messages.map(sha256))) }]
      const call: Case['call'] = (x, at) => x.sha256_batch(at[1]!, made.messages.length, at[2]!)
      yield { inputs: [exact(made.data), exact(made.pairs)], outputs, call, addresses: (view, at) => made.write(view, at[0]!, at[1]!) }
    }
  },
  *record_hashes(n, random) {
    for (const lengths of mixesOf(n, random)) {
      const { data, offsets, digests } = framesOf(lengths, random)
      const outputs = [{ expected: new Uint8Array(Buffer.concat(digests)) }]
      yield { inputs: [exact(data), exact(u32s(offsets))], outputs, call: (x, at) => x.record_hashes(at[0]!, at[1]!, offsets.length, at[2]!) }
    }
  },
  *chain_advance(n, random) {
    const count = n % 12
    for (const each of [true, false]) {
      const [before, list] = [bytesOf(random, 32), bytesOf(random, 32 * count)]
      const steps: Uint8Array[] = []
      for (let i = 0; i < count; i++) steps.push(sha256(new Uint8Array(Buffer.concat([steps.at(-1) ?? before, list.subarray(i * 32, i * 32 + 32)]))))
      const outputs = [{ before, expected: steps.at(-1) ?? before }, { expected: each ? new Uint8Array(Buffer.concat(steps)) : new Uint8Array(0) }]
      yield { inputs: [exact(list)], outputs, call: (x, at) => x.chain_advance(at[1]!, at[0]!, count, each ? at[2]! : 0) }
    }
  },

  *sbbf_insert(n, random) {
    for (const blocks of [1, 7, 64]) {
      const made = filterOf(blocks, n, random)
      yield {
        inputs: [exact(u64s(made.hashes))],
        outputs: [{ before: new Uint8Array(blocks * 32), expected: made.bytes }],
        call: (x, at) => x.sbbf_insert(at[1]!, blocks, at[0]!, n),
      }
    }
  },
  *sbbf_probe(n, random) {
    for (const blocks of [1, 7, 64]) {
      const made = filterOf(blocks, Math.min(n, blocks * 8), random)
      const asked = Array.from({ length: n }, () =>
        made.hashes.length > 0 && random.chance(0.5) ? made.hashes[random.below(made.hashes.length)]! : hash64(random),
      )
      const found = asked.map((hash) => made.filter.has(hash))
      const call: Case['call'] = (x, at) => x.sbbf_probe(at[0]!, blocks, at[1]!, n, at[2]!)
      yield { inputs: [exact(made.bytes), exact(u64s(asked))], outputs: [{ expected: bitsOf(found, true) }], call, result: found.filter(Boolean).length }
    }
  },
  *sbbf_merge(n, random) {
    const [before, src] = [bytesOf(random, 32 * n), bytesOf(random, 32 * n)]
    yield {
      inputs: [exact(src)],
      outputs: [{ before, expected: before.map((byte, i) => byte | src[i]!) }],
      call: (x, at) => x.sbbf_merge(at[1]!, at[0]!, 32 * n),
    }
  },
}

function hash64(random: Random): bigint {
  return (BigInt(random.u32()) << 32n) | BigInt(random.u32())
}

function filterOf(blocks: number, keys: number, random: Random): { filter: OracleBloom; hashes: bigint[]; bytes: Uint8Array } {
  const filter = new OracleBloom(blocks)
  const list = Array.from({ length: keys }, () => hash64(random))
  for (const hash of list) filter.insert(hash)
  return { filter, hashes: list, bytes: new Uint8Array(filter.words.slice().buffer) }
}
