// Values that were chosen for it all fell into one chain of the tables that number groups, which had no seed: grouping by n of them took n * n steps.
import { expect, it } from 'vitest'
import { GroupTable, makeVec } from '../../bindings/kernels/index.ts'

const MASK = 2n ** 64n - 1n

/** The factor that undoes an odd one, modulo 2^64. */
function inverse(a: bigint): bigint {
  let x = a
  for (let i = 0; i < 6; i++) x = (x * (2n - a * x)) & MASK
  return x
}

/** What the finaliser of Murmur3 makes `hash` of. */
function unmix(hash: bigint): bigint {
  let x = hash ^ (hash >> 33n)
  x = (x * inverse(0xc4ceb9fe1a85ec53n)) & MASK
  x ^= x >> 33n
  x = (x * inverse(0xff51afd7ed558ccdn)) & MASK
  return x ^ (x >> 33n)
}

it('groups of chosen values are spread by the seed', () => {
  const n = 1024
  // Whoever knows that the seed is 0 (its upper half is the complement) makes the low half of every hash zero.
  const chosen = BigUint64Array.from({ length: n }, (_, i) => unmix(BigInt(i) << 32n) ^ 0xffff_ffff_0000_0000n)
  const vec = makeVec({ kind: 'fixed', width: 8 }, n, { values: new Uint8Array(chosen.buffer) })
  const lengthOfChains = (seed: number): number => {
    using table = new GroupTable([{ kind: 'u64', layout: vec.layout }], { seed })
    table.assign([vec], n)
    expect(table.groups()).toEqual(Uint32Array.from({ length: n }, (_, i) => i))
    return longestRun(table)
  }
  expect(lengthOfChains(0)).toBeGreaterThan(256)
  for (const seed of [1, 0x9e3779b9, 0xffffffff]) expect(lengthOfChains(seed)).toBeLessThan(64)
})

/** The most slots in use next to each other, of the one table; its head is found by its fields (assembly/group-table.ts). */
function longestRun({ memory }: GroupTable): number {
  const { u32 } = memory.k
  // slots, mask, direct, size, limit, …
  const head = u32.findIndex((_, at) => u32[at + 3] === 1024 && u32[at + 2] === 0 && u32[at + 1]! >= 1023 && u32[at + 4]! >= 1024)
  const [slots, mask] = [u32[head]! >>> 2, u32[head + 1]!]
  let longest = 0
  let run = 0
  for (let at = 0; at <= mask; at++) {
    run = u32[slots + at] === 0 ? 0 : run + 1
    longest = Math.max(longest, run)
  }
  return longest
}
