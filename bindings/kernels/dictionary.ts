// kernels/dictionary.ts: dictionaries made, unified and undone, and integers of one width as another.
//
// A dictionary is a var column without nulls in first-seen order; codes are unsigned, 1, 2 or 4 bytes.
// Invariant: decodeDictionary(encodeDictionary(v)) holds the rows of v.
import { assert } from '../assert.ts'
import { DictionaryOverflowError } from '../errors.ts'
import { gather, NULL_INDEX, Picks } from './gather.ts'
import type { KernelInstance } from './instance.ts'
import { scratch } from './scratch.ts'
import { dictionaryOf, makeVec, offsetsOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

const VAR = { kind: 'var' } as const

/** The rows of a dict column as plain bytes; other columns are returned as they are. */
export function decodeDictionary(v: Vec): Vec {
  if (v.layout.kind !== 'dict') return v
  const { width } = v.layout
  const dictionary = dictionaryOf(v)
  return scratch((k) => {
    const codes = k.copyIn(v.values.subarray(0, v.length * width))
    const validity = v.validity === undefined ? 0 : k.copyIn(v.validity.subarray(0, (v.length + 7) >>> 3))
    const idx = k.arena.reserve(v.length * 4)
    const good = k.exports.codes_to_indices(codes, width, validity, v.length, dictionary.length, idx)
    assert(good === 1, 'dictionary codes of valid rows lie inside the dictionary', dictionary.length)
    const plain = gather(k, dictionary, new Picks(idx, v.length, v.nullCount, false))
    return makeVec(VAR, v.length, { validity: v.validity, nullCount: v.nullCount, values: plain.values, offsets: plain.offsets })
  })
}

/**
 * A var column as codes into its distinct values, in first-seen order; the narrowest codes that hold them.
 *
 * @param distinctMax  give up above this many distinct values
 * @returns undefined when given up
 */
export function encodeDictionary(v: Vec, distinctMax: number): Vec | undefined {
  assert(v.layout.kind === 'var', 'a var column is encoded', v.layout.kind)
  return scratch((k) => {
    const builder = new DictionaryBuilder(k, Math.min(distinctMax, v.length), dataBytes(v))
    const codes = builder.intern(v)
    if (codes === undefined) return undefined
    const width = codeWidth(builder.count)
    const out = k.arena.reserve(v.length * width)
    k.exports.int_convert(codes, 4, width, 0, v.length, out)
    return makeVec({ kind: 'dict', width }, v.length, {
      validity: v.validity,
      nullCount: v.nullCount,
      values: k.copyOut(out, v.length * width),
      dictionary: builder.finish(),
    })
  })
}

export interface UnifiedDictionary {
  readonly dictionary: Vec
  /** Narrowest code width for it. */
  readonly width: 1 | 2 | 4
  /** Per input: its code -> the unified code. */
  readonly maps: readonly Uint32Array[]
}

/** One dictionary that holds the entries of all, in first-seen order. */
export function unifyDictionaries(dictionaries: readonly Vec[]): UnifiedDictionary {
  return scratch((k) => {
    let entries = 0
    let bytes = 0
    for (const dictionary of new Set(dictionaries)) {
      entries += dictionary.length
      bytes += dataBytes(dictionary)
    }
    const builder = new DictionaryBuilder(k, entries, bytes)
    const known = new Map<Vec, Uint32Array>()
    for (const dictionary of dictionaries) {
      if (known.has(dictionary)) continue
      const mark = k.arena.mark()
      const codes = builder.intern(dictionary)
      assert(codes !== undefined, 'a dictionary as large as all inputs has room for them')
      known.set(dictionary, k.u32.slice(codes >>> 2, (codes >>> 2) + dictionary.length))
      k.arena.rewind(mark)
    }
    return { dictionary: builder.finish(), width: codeWidth(builder.count), maps: dictionaries.map((dictionary) => known.get(dictionary)!) }
  })
}

/** Narrowest width of codes into a dictionary of that many entries. */
export function codeWidth(entries: number): 1 | 2 | 4 {
  if (entries <= 0x100) return 1
  if (entries <= 0x1_0000) return 2
  if (entries <= 0xffff_ffff) return 4
  throw new DictionaryOverflowError(`${entries} distinct values do not fit codes of 4 bytes`, { details: { width: 4 } })
}

/** Integers of `from` bytes as integers of `to` bytes: extended by sign or zero, or cut. */
export function widen(v: Vec, fromWidth: number, toWidth: number, signed: boolean): Vec {
  assert(v.layout.kind === 'fixed' && v.layout.width === fromWidth, 'the column has the stated width', v.layout)
  if (fromWidth === toWidth) return v
  const values = convertInts(v.values, fromWidth, toWidth, signed, v.length)
  return makeVec({ kind: 'fixed', width: toWidth }, v.length, { validity: v.validity, nullCount: v.nullCount, values })
}

/** n integers converted; with `map`, unsigned codes are looked up in it on the way. A view when there is nothing to do. */
export function convertInts(values: Uint8Array, from: number, to: number, signed: boolean, n: number, map?: Uint32Array): Uint8Array {
  if (from === to && map === undefined) return values.subarray(0, n * from)
  return scratch((k) => {
    const src = k.copyIn(values.subarray(0, n * from))
    const out = k.arena.reserve(n * to)
    if (map === undefined) {
      k.exports.int_convert(src, from, to, signed ? 1 : 0, n, out)
    } else {
      const table = k.copyIn(new Uint8Array(map.buffer, map.byteOffset, map.byteLength))
      k.exports.codes_remap(src, from, n, table, map.length, to, out)
    }
    return k.copyOut(out, n * to)
  })
}

/** Distinct byte strings in first-seen order, in kernel memory, over any number of columns. */
class DictionaryBuilder {
  readonly #k: KernelInstance
  readonly #limit: number
  readonly #table: number
  readonly #mask: number
  readonly #offsets: number
  readonly #data: number
  count = 0

  /** Room for `limit` entries of together `bytes` bytes. */
  constructor(k: KernelInstance, limit: number, bytes: number) {
    this.#k = k
    this.#limit = limit
    const slots = 2 ** Math.ceil(Math.log2(Math.max(16, limit * 2)))
    this.#mask = slots - 1
    this.#table = k.arena.reserve(slots * 8)
    this.#offsets = k.arena.reserve((limit + 1) * 4)
    this.#data = k.arena.reserve(bytes)
    k.u8.fill(0, this.#table, this.#table + slots * 8)
    k.u32[this.#offsets >>> 2] = 0
  }

  /** u32 codes of the rows, in kernel memory; undefined when the limit was passed. */
  intern(v: Vec): number | undefined {
    const k = this.#k
    const from = offsetsOf(v)
    const base = from[0]!
    const offsets = k.arena.reserve((v.length + 1) * 4)
    k.i32.set(from.subarray(0, v.length + 1), offsets >>> 2)
    const data = k.copyIn(v.values.subarray(base, from[v.length]!)) - base
    const validity = v.validity === undefined ? 0 : k.copyIn(v.validity.subarray(0, (v.length + 7) >>> 3))
    const codes = k.arena.reserve(v.length * 4)
    const count =
      k.exports.dict_intern(offsets, data, validity, v.length, this.#table, this.#mask, this.#offsets, this.#data, this.count, this.#limit, codes) >>> 0
    if (count === NULL_INDEX) return undefined
    this.count = count
    return codes
  }

  finish(): Vec {
    const k = this.#k
    const at = this.#offsets >>> 2
    const offsets = k.i32.slice(at, at + this.count + 1)
    return makeVec(VAR, this.count, { offsets, values: k.copyOut(this.#data, offsets[this.count]!) })
  }
}

function dataBytes(v: Vec): number {
  const offsets = offsetsOf(v)
  return offsets[v.length]! - offsets[0]!
}
