// Seeded damage to Arrow bytes: flipped bits, cuts, length fields that lie, pieces that move over others. Equal seed, equal damage.
import type { World } from '../../bindings/runtime/index.ts'

type Random = World['random']

/** A number below `end`. */
export function below(random: Random, end: number): number {
  return random.u32() % end
}

/** What lengths, counts, offsets and ids are replaced by. */
const LIES: readonly bigint[] = [
  0n,
  1n,
  -1n,
  2n,
  7n,
  255n,
  256n,
  65_535n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_fff8n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  -(2n ** 63n),
]

/** A damaged copy of `bytes`; `other`: where foreign pieces come from. */
export function mutated(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let out: Uint8Array<ArrayBuffer> = new Uint8Array(bytes)
  const times = 1 + below(random, 4)
  for (let i = 0; i < times && out.length > 0; i++) out = damage(out, other, random)
  return out
}

function damage(bytes: Uint8Array<ArrayBuffer>, other: Uint8Array, random: Random): Uint8Array<ArrayBuffer> {
  // Most of what can lie is near the start and the end: schema, message headers, footer.
  const near = below(random, 3)
  const span = Math.min(bytes.length, near === 0 ? bytes.length : 1200)
  const at = near === 2 ? bytes.length - 1 - below(random, span) : below(random, span)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const word = at & ~7
  switch (below(random, 7)) {
    case 0:
      bytes[at]! ^= 1 << below(random, 8)
      return bytes
    case 1:
      bytes[at] = below(random, 256)
      return bytes
    case 2:
      if (word + 8 <= bytes.length) view.setBigInt64(word, LIES[below(random, LIES.length)]!, true)
      return bytes
    case 3: {
      const half = at & ~3
      if (half + 4 <= bytes.length) view.setInt32(half, Number(BigInt.asIntN(32, LIES[below(random, LIES.length)]!)), true)
      return bytes
    }
    case 4: {
      // A little more or less than the truth.
      const half = at & ~3
      if (half + 4 <= bytes.length) view.setInt32(half, view.getInt32(half, true) + below(random, 17) - 8, true)
      return bytes
    }
    case 5: {
      const from = below(random, other.length)
      bytes.set(other.subarray(from, from + Math.min(1 + below(random, 64), bytes.length - at)), at)
      return bytes
    }
    default:
      return below(random, 4) === 0 ? bytes.slice(0, at) : bytes.copyWithin(at, below(random, bytes.length), below(random, bytes.length))
  }
}
