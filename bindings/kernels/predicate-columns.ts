// kernels/predicate-columns.ts: two columns of one kind compared row by row, as a bitmap padded with zero bits to 64 rows.
//
// Two-valued like predicate.ts: null or NaN on either side compares false. The columns may differ in layout: integers stored at different widths are widened
// in kernel memory, byte strings may be var, fixed or dict on each side. Decimals are compared as their integers: the caller gives them one scale.
// Invariant: bit i is set exactly when both rows are valid and the comparison holds.
import { assert } from '../assert.ts'
import { andInto, bitmapAndNot, bitmapBytes, bitmapNot, bitmapOr, bitmapXor } from './bitmap.ts'
import type { KernelInstance } from './instance.ts'
import { pieceEnd, pieceRows } from './pieces.ts'
import type { CompareOp } from './predicate.ts'
import { scratch } from './scratch.ts'
import { dictionaryOf, offsetsOf, widthOf } from './vec-build.ts'
import type { ValueKind, Vec } from './vec.ts'

type Op = Exclude<CompareOp, 'gt' | 'ge'>

const FIXED_OP: Readonly<Record<Op, number>> = { eq: 0, ne: 1, lt: 2, le: 3 }
// What compare_byte_columns accepts: 1 less, 2 equal, 4 greater.
const ACCEPT: Readonly<Record<Op, number>> = { eq: 2, ne: 5, lt: 1, le: 3 }
const SIGNED = 0
const UNSIGNED = 1
const FLOAT = 2
const COLUMN_BYTES = 24

/**
 * Rows where a stands in that relation to b. `ne` holds for valid values only.
 *
 * @param kind  of both columns
 * @throws InvariantError when the columns differ in length or cannot hold that kind
 */
export function compareColumns(a: Vec, b: Vec, kind: ValueKind, op: CompareOp): Uint8Array<ArrayBuffer> {
  assert(a.length === b.length, 'columns compared row by row have one length', [a.length, b.length])
  if (op === 'gt') return compareColumns(b, a, kind, 'lt')
  if (op === 'ge') return compareColumns(b, a, kind, 'le')
  const bits = kind === 'bool' ? compareBools(a, b, op) : scratch((k) => (kind === 'bytes' ? compareBytes(k, a, b, op) : compareFixed(k, a, b, kind, op)))
  for (const { validity } of [a, b]) if (validity !== undefined) andInto(bits, validity, a.length)
  return bits
}

function compareBools(a: Vec, b: Vec, op: Op): Uint8Array<ArrayBuffer> {
  const n = a.length
  assert(a.layout.kind === 'bool' && b.layout.kind === 'bool', 'two bool columns', [a.layout.kind, b.layout.kind])
  if (op === 'lt') return bitmapAndNot(b.values, a.values, n)
  if (op === 'le') return bitmapOr(b.values, bitmapNot(a.values, n), n)
  const different = bitmapXor(a.values, b.values, n)
  return op === 'ne' ? different : bitmapNot(different, n)
}

function compareFixed(k: KernelInstance, a: Vec, b: Vec, kind: ValueKind, op: Op): Uint8Array<ArrayBuffer> {
  const [aWidth, bWidth] = [widthOf(a.layout), widthOf(b.layout)]
  const width = Math.max(aWidth, bWidth)
  const float = kind === 'f32' || kind === 'f64'
  const form = float ? FLOAT : kind.startsWith('u') ? UNSIGNED : SIGNED
  assert(aWidth === bWidth || (width <= 8 && !float), 'integers of up to 8 bytes where widths differ', [aWidth, bWidth])
  const step = Math.min(pieceRows(width), Math.ceil(a.length / 64) * 64)
  const left = sideOf(k, a, aWidth, width, form === SIGNED, step)
  const right = sideOf(k, b, bWidth, width, form === SIGNED, step)
  return inPieces(k, a.length, step, (first, end, out) => {
    const x = left(first, end)
    k.exports.compare_columns(x, right(first, end), width, form, end - first, FIXED_OP[op], out)
  })
}

/** Puts a piece of a column into kernel memory, widened when the other one is wider; says where. */
function sideOf(k: KernelInstance, v: Vec, from: number, to: number, signed: boolean, rows: number): (first: number, end: number) => number {
  const at = k.arena.reserve(rows * from)
  const wide = from === to ? at : k.arena.reserve(rows * to)
  const { values } = v
  return (first, end) => {
    k.u8.set(values.subarray(first * from, end * from), at)
    if (from !== to) k.exports.int_convert(at, from, to, signed ? 1 : 0, end - first, wide)
    return wide
  }
}

function compareBytes(k: KernelInstance, a: Vec, b: Vec, op: Op): Uint8Array<ArrayBuffer> {
  const left = byteSide(k, a)
  const right = byteSide(k, b)
  return inPieces(
    k,
    a.length,
    (first) => Math.min(left.pieceEnd(first), right.pieceEnd(first)),
    (first, end, out) => {
      left.place(first, end)
      right.place(first, end)
      k.exports.compare_byte_columns(left.at, right.at, end - first, ACCEPT[op], out)
    },
  )
}

interface ByteSide {
  /** The 6 u32 by which compare_byte_columns knows a column: codes, their width, entries, offsets, data, width. */
  readonly at: number
  pieceEnd(first: number): number
  /** Copies rows first .. end - 1 and says where they are. Reserves scratch. */
  place(first: number, end: number): void
}

function byteSide(k: KernelInstance, v: Vec): ByteSide {
  const at = k.arena.reserve(COLUMN_BYTES)
  const say = (...words: number[]): void => k.u32.set(words, at >>> 2)
  const { layout, length } = v
  if (layout.kind === 'dict') {
    const entries = dictionaryOf(v)
    const { offsets, data } = placeVar(k, entries, 0, entries.length)
    return {
      at,
      pieceEnd: (first) => Math.min(length, first + pieceRows(layout.width)),
      place: (first, end) => say(k.copyIn(v.values.subarray(first * layout.width, end * layout.width)), layout.width, entries.length, offsets, data, 0),
    }
  }
  if (layout.kind === 'var') {
    return {
      at,
      pieceEnd: (first) => pieceEnd(offsetsOf(v), first, length),
      place: (first, end) => {
        const { offsets, data } = placeVar(k, v, first, end)
        say(0, 0, 0, offsets, data, 0)
      },
    }
  }
  const width = widthOf(layout)
  return {
    at,
    pieceEnd: (first) => Math.min(length, first + pieceRows(width)),
    place: (first, end) => say(0, 0, 0, 0, k.copyIn(v.values.subarray(first * width, end * width)), width),
  }
}

/** Rows of a var column in kernel memory; `data` is where its byte 0 would lie. */
function placeVar(k: KernelInstance, v: Vec, first: number, end: number): { offsets: number; data: number } {
  const from = offsetsOf(v)
  const offsets = k.arena.reserve((end - first + 1) * 4)
  k.i32.set(from.subarray(first, end + 1), offsets >>> 2)
  const data = k.copyIn(v.values.subarray(from[first]!, from[end]!)) - from[first]!
  return { offsets, data }
}

/** Runs over rows a piece at a time: pieces begin at multiples of 64 rows. `step`: rows of a piece, or where the piece from a row on ends. */
function inPieces(
  k: KernelInstance,
  n: number,
  step: number | ((first: number) => number),
  run: (first: number, end: number, out: number) => void,
): Uint8Array<ArrayBuffer> {
  const bits = new Uint8Array(bitmapBytes(n))
  for (let first = 0; first < n;) {
    const end = Math.min(n, typeof step === 'number' ? first + step : step(first))
    const mark = k.arena.mark()
    const out = k.arena.reserve(bitmapBytes(end - first))
    run(first, end, out)
    bits.set(k.u8.subarray(out, out + ((end - first + 7) >>> 3)), first >>> 3)
    k.arena.rewind(mark)
    first = end
  }
  return bits
}
