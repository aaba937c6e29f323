// proof/harness.ts: runs one kernel on raw memory, at every length and alignment, and holds it to its contract.
//
// A case is what a kernel gets (inputs, outputs) and what a plain TypeScript oracle says it must leave. Buffers lie in memory full of noise, at each of 16
// alignments (all different between the buffers of a call), then each in turn at the very end of linear memory, where one byte too far traps. Held in every
// run: the result, the bytes of each output, and that no other byte of the neighbourhood changed, inputs included. What lies behind an input is noise that
// differs from run to run, so a result that depends on it shows.
import { KernelInstance } from '../../../bindings/kernels/index.ts'
import type { KernelExports } from '../../../bindings/kernels/instance.ts'
import { noise } from '../bytes.ts'
import { randomOf } from '../vec-model.ts'

export type Random = ReturnType<typeof randomOf>

/** Readable 16 bytes past its end, or only as far as `readable` says (bytes from its start). */
export type Input = Uint8Array | { readonly bytes: Uint8Array; readonly readable: number }

export interface Output {
  /** What must lie there afterwards. */
  readonly expected: Uint8Array
  /** Bytes behind `expected` that may hold anything afterwards; a kernel names its slack. */
  readonly slack?: number
  /** Bytes behind those that must be readable, where a kernel reads what it wrote. */
  readonly padding?: number
  /** What lies there before; noise unless given. */
  readonly before?: Uint8Array
}

export interface Case {
  readonly inputs: readonly Input[]
  readonly outputs: readonly Output[]
  /** Offsets of the inputs, then of the outputs. Without a result the kernel returns nothing. */
  call(x: KernelExports, at: readonly number[]): number | bigint | void
  readonly result?: number | bigint
  /** What an oracle cannot say byte by byte; throws. Those bytes are slack. */
  check?(memory: DataView, at: readonly number[]): void
  /** Writes addresses into inputs or outputs that hold them. */
  addresses?(view: DataView, at: readonly number[]): void
}

/** The cases of a kernel for rows, bytes or bits of one length. */
export type Cases = (n: number, random: Random) => Iterable<Case>

/** Exports by name, with how their cases are made. */
export type Proofs = Readonly<Partial<Record<keyof KernelExports, Cases>>>

const GAP = 256
const LENGTH_MAX = 257
const MEMORY_BYTES = 1 << 20
const NOISE = [noise(MEMORY_BYTES, 7), noise(MEMORY_BYTES, 11)] as const

let instance: { k: KernelInstance; memory: Buffer; view: DataView; before: Buffer; base: number } | undefined

function setUp(): NonNullable<typeof instance> {
  if (instance === undefined) {
    const k = new KernelInstance({ fixedBytes: MEMORY_BYTES })
    const memory = Buffer.from(k.memory.buffer)
    instance = { k, memory, view: k.view, before: Buffer.alloc(memory.length), base: k.exports.arena_base() }
  }
  return instance
}

/** All lengths; throws with length, alignment and what differs. */
export function prove(name: string, cases: Cases, lengths: Iterable<number> = upTo(LENGTH_MAX)): number {
  let runs = 0
  for (const n of lengths) {
    let variant = 0
    for (const one of cases(n, randomOf(n * 7919 + 17))) {
      for (let alignment = 0; alignment < 16; alignment++) runOnce(`${name} n=${n} variant=${variant} alignment=${alignment}`, one, alignment)
      const buffers = one.inputs.length + one.outputs.length
      for (let last = 0; last < buffers; last++) runOnce(`${name} n=${n} variant=${variant} buffer ${last} at the end of memory`, one, 0, last)
      runs += 16 + buffers
      variant++
    }
  }
  if (runs === 0) throw new Error(`${name}: no case`)
  return runs
}

function* upTo(most: number): Iterable<number> {
  for (let n = 0; n <= most; n++) yield n
}

interface Place {
  readonly at: number
  /** Bytes that belong to the buffer: for an input what is readable, for an output what may be written. */
  readonly bytes: number
}

function runOnce(what: string, one: Case, alignment: number, last = -1): void {
  const { k, memory, view, before, base } = setUp()
  const sizes = [...one.inputs.map(readableOf), ...one.outputs.map((output) => output.expected.length + (output.slack ?? 0))]
  const places: Place[] = []
  let next = base + GAP
  for (const [i, bytes] of sizes.entries()) {
    if (i === last) {
      places.push({ at: memory.length - bytes - (one.outputs[i - one.inputs.length]?.padding ?? 0), bytes })
      continue
    }
    const at = Math.ceil(next / 16) * 16 + ((alignment * (2 * i + 1) + 3 * i) & 15)
    places.push({ at, bytes })
    next = at + Math.max(bytes, one.outputs[i - one.inputs.length]?.before?.length ?? 0) + GAP
  }
  if (next > memory.length - MEMORY_BYTES / 4) throw new Error(`${what}: buffers of ${next - base} bytes are more than the harness has room for`)
  // The neighbourhood: all buffers with a gap on each side, or everything up to the end of memory.
  const junk = NOISE[alignment & 1]!
  const windows = last < 0 ? [[base, next] as const] : [[base, next] as const, [places[last]!.at - GAP, memory.length] as const]
  for (const [lo, hi] of windows) memory.set(junk.subarray(0, hi - lo), lo)
  for (const [i, input] of one.inputs.entries()) memory.set(input instanceof Uint8Array ? input : input.bytes, places[i]!.at)
  for (const [i, output] of one.outputs.entries()) if (output.before !== undefined) memory.set(output.before, places[one.inputs.length + i]!.at)
  const at = places.map((place) => place.at)
  one.addresses?.(view, at)
  for (const [lo, hi] of windows) memory.copy(before, lo, lo, hi)

  const result = one.call(k.exports, at)

  if (one.result !== undefined && !sameResult(result, one.result)) throw new Error(`${what}: returned ${String(result)}, expected ${String(one.result)}`)
  one.check?.(view, at)
  const outputs = one.outputs.map((output, i) => ({ at: places[one.inputs.length + i]!.at, output })).toSorted((a, b) => a.at - b.at)
  for (const [lo, hi] of windows) {
    let from = lo
    for (const { at: start, output } of outputs) {
      if (start < lo || start > hi) continue
      unchanged(what, memory, before, from, start)
      const end = start + output.expected.length
      if (memory.compare(output.expected, 0, output.expected.length, start, end) !== 0)
        differs(what, one.outputs.indexOf(output), memory.subarray(start, end), output.expected)
      from = end + (output.slack ?? 0)
    }
    unchanged(what, memory, before, from, hi)
  }
}

function readableOf(input: Input): number {
  return input instanceof Uint8Array ? input.length + 16 : input.readable
}

function sameResult(a: number | bigint | void, b: number | bigint): boolean {
  // Kernels return u32 as signed numbers.
  if (typeof a === 'number' && typeof b === 'number' && Number.isInteger(b) && Math.abs(b) <= 0xffff_ffff) return a === b || a >>> 0 === b
  return Object.is(a, b)
}

function unchanged(what: string, memory: Buffer, before: Buffer, lo: number, hi: number): void {
  if (memory.compare(before, lo, hi, lo, hi) === 0) return
  for (let i = lo; i < hi; i++) if (memory[i] !== before[i]) throw new Error(`${what}: byte ${i - lo} of the ${hi - lo} behind the last bound was written`)
}

function differs(what: string, output: number, actual: Uint8Array, expected: Uint8Array): never {
  const i = expected.findIndex((byte, at) => byte !== actual[at])
  throw new Error(`${what}: output ${output} differs at byte ${i} of ${expected.length}: ${actual[i]}, expected ${expected[i]}`)
}

// ---- making inputs ----------------------------------------------------------------------------------------------------------------------------------

export function bytesOf(random: Random, n: number): Uint8Array {
  const out = new Uint8Array(n)
  for (let i = 0; i < n; i++) out[i] = random.u32() >>> 13
  return out
}

export function u32s(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer)
}

export function u64s(values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values, (value) => BigInt.asUintN(64, value)).buffer)
}

/** Bits as Arrow has them; `words`: padded with zero bits to 64, as selections and results are. */
export function bitsOf(bits: readonly boolean[], words = false): Uint8Array {
  const out = new Uint8Array(words ? Math.ceil(bits.length / 64) * 8 : Math.ceil(bits.length / 8))
  for (const [i, bit] of bits.entries()) if (bit) out[i >>> 3]! |= 1 << (i & 7)
  return out
}

export function bitAt(bytes: Uint8Array, i: number): number {
  return (bytes[i >>> 3]! >>> (i & 7)) & 1
}

export function booleans(random: Random, n: number, chance = 0.5): boolean[] {
  return Array.from({ length: n }, () => random.chance(chance))
}

/** None, all, alternating, one, sparse, half, dense, without the second word. */
export function masks(n: number, random: Random): boolean[][] {
  const one = random.below(Math.max(1, n))
  const of = (rule: (i: number) => boolean): boolean[] => Array.from({ length: n }, (_, i) => rule(i))
  return [
    of(() => false),
    of(() => true),
    of((i) => i % 2 === 0),
    of((i) => i === one),
    ...[0.03, 0.5, 0.95].map((p) => booleans(random, n, p)),
    of((i) => i >> 6 !== 1),
  ]
}

/** Byte strings as offsets (from `lead` on) and bytes; a few lengths, shared prefixes, zeros. */
export interface Strings {
  readonly rows: readonly Uint8Array[]
  readonly offsets: Uint8Array
  readonly data: Uint8Array
}

export function stringsOf(rows: readonly Uint8Array[], lead: number, random: Random): Strings {
  const ends = [lead]
  for (const row of rows) ends.push(ends.at(-1)! + row.length)
  return { rows, offsets: u32s(ends), data: new Uint8Array(Buffer.concat([bytesOf(random, lead), ...rows])) }
}

export function randomStrings(n: number, random: Random, most = 20): Strings {
  const rows = Array.from({ length: n }, () => {
    const length = random.chance(0.1) ? random.below(most * 4) : random.below(most)
    return Uint8Array.from({ length }, (_, i) => (i < 7 && length > 9 ? 3 : [0, 1, 2, 128, 255][random.below(5)]!))
  })
  return stringsOf(rows, random.below(4), random)
}

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Math.sign(Buffer.compare(a, b))
}

/** The first eight bytes, zero-padded, as a big-endian number. */
export function prefixOf(row: Uint8Array): bigint {
  let value = 0n
  for (let i = 0; i < 8; i++) value = (value << 8n) | BigInt(row[i] ?? 0)
  return value
}

export const NULL_INDEX = 0xffff_ffff
export const ALL = 0xffff_ffff_ffff_ffffn
