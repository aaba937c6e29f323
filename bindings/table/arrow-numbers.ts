// table/arrow-numbers.ts: number buffers into wider or rescaled ones, exactly; loops over typed arrays, no bigint per item where 53 bits do.
//
// Invariant: a result equals the value it came from, or the row is refused (CellFault); rows under a null may hold anything.
import type { ColumnType } from '../format/index.ts'
import type { SourceType } from '../kernels/index.ts'
import { type Cell, CellFault } from './cells.ts'

type Integers = Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array

/** A view of `bytes` (aligned) as integers of up to 32 bits. */
export function integersOf(bytes: Uint8Array, bits: number, signed: boolean, count: number): Integers {
  const { buffer, byteOffset } = bytes
  if (bits === 8) return signed ? new Int8Array(buffer, byteOffset, count) : new Uint8Array(buffer, byteOffset, count)
  if (bits === 16) return signed ? new Int16Array(buffer, byteOffset, count) : new Uint16Array(buffer, byteOffset, count)
  return signed ? new Int32Array(buffer, byteOffset, count) : new Uint32Array(buffer, byteOffset, count)
}

/** Integers of up to 32 bits as a wider integer or a float. */
export function widen(source: Integers, to: ColumnType & { kind: 'int' | 'float' }, count: number): Uint8Array {
  let out: ArrayBufferView
  if (to.kind === 'float') out = to.bits === 32 ? Float32Array.from(source) : Float64Array.from(source)
  else if (to.bits === 64) {
    const words = new Int32Array(count * 2)
    for (let i = 0; i < count; i++) {
      const value = source[i]!
      words[2 * i] = value
      words[2 * i + 1] = value < 0 ? -1 : 0
    }
    out = words
  } else if (to.bits === 32) out = to.signed ? Int32Array.from(source) : Uint32Array.from(source)
  else out = to.signed ? Int16Array.from(source) : Uint16Array.from(source)
  return new Uint8Array(out.buffer as ArrayBuffer, out.byteOffset, out.byteLength)
}

/** IEEE 754 half precision, exactly. */
export function halfToFloat(bytes: Uint8Array, count: number): Float32Array {
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count)
  const out = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    const half = halves[i]!
    const exponent = (half >> 10) & 0x1f
    const mantissa = half & 0x3ff
    const magnitude =
      exponent === 0 ? mantissa * 2 ** -24 : exponent === 31 ? (mantissa === 0 ? Infinity : Number.NaN) : (1024 + mantissa) * 2 ** (exponent - 25)
    out[i] = half & 0x8000 ? -magnitude : magnitude
  }
  return out
}

/** int64 values times `factor` (at most 1e9), or divided by `divisor` where that is exact. */
export function scale64(bytes: Uint8Array, count: number, factor: number, divisor: number, valid: (row: number) => boolean, cell: Cell): Uint8Array {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, count * 2)
  const out = new Int32Array(count * 2)
  for (let i = 0; i < count; i++) {
    const high = words[2 * i + 1]!
    const low = words[2 * i]! >>> 0
    const value = high * 0x1_0000_0000 + low
    if (factor === 1) {
      const quotient = Number.isSafeInteger(value) ? value / divisor : exactQuotient(high, low, divisor)
      if (!Number.isInteger(quotient)) {
        if (valid(i)) throw new CellFault(i, '', `a value has more precision than ${cell.typeName} holds`)
        continue
      }
      out[2 * i] = quotient | 0
      out[2 * i + 1] = Math.floor(quotient / 0x1_0000_0000)
      continue
    }
    // Two products of 16 by 30 bits are exact; the high word then is exact whenever the result fits.
    const p0 = (low & 0xffff) * factor
    const p1 = (low >>> 16) * factor + Math.floor(p0 / 0x1_0000)
    const top = high * factor + Math.floor(p1 / 0x1_0000)
    if ((top > 0x7fff_ffff || top < -0x8000_0000) && valid(i)) throw new CellFault(i, '', `a value is outside ${cell.typeName}`)
    out[2 * i] = (p0 & 0xffff) | ((p1 & 0xffff) << 16)
    out[2 * i + 1] = top
  }
  return new Uint8Array(out.buffer)
}

/** The quotient of a value beyond 2^53, or NaN when it is not exact; divisors are at least 1000, so that it fits a double. */
function exactQuotient(high: number, low: number, divisor: number): number {
  const value = (BigInt(high) << 32n) | BigInt(low)
  return value % BigInt(divisor) === 0n ? Number(value / BigInt(divisor)) : Number.NaN
}

/** Decimals of 32 to 256 bits as decimal128 of another precision and scale. */
export function convertDecimal(
  bytes: Uint8Array,
  from: SourceType,
  count: number,
  cell: Cell,
  to: ColumnType & { kind: 'decimal' },
  valid: (row: number) => boolean,
): Uint8Array {
  const width = from.bits / 8
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out = new BigInt64Array(count * 2)
  const bound = 10n ** BigInt(to.precision)
  const shift = to.scale - from.scale
  const factor = 10n ** BigInt(Math.abs(shift))
  for (let i = 0; i < count; i++) {
    if (!valid(i)) continue
    let value = wideInteger(view, i * width, width)
    if (shift >= 0) value *= factor
    else {
      if (value % factor !== 0n) throw new CellFault(i, '', `a value has more than ${to.scale} digits after the point`)
      value /= factor
    }
    if (value >= bound || value <= -bound) throw new CellFault(i, '', `a value is outside ${cell.typeName}`)
    out[2 * i] = BigInt.asIntN(64, value)
    out[2 * i + 1] = value >> 64n
  }
  return new Uint8Array(out.buffer)
}

function wideInteger(view: DataView, at: number, width: number): bigint {
  if (width === 4) return BigInt(view.getInt32(at, true))
  let value = view.getBigInt64(at + width - 8, true)
  for (let k = width - 16; k >= 0; k -= 8) value = (value << 64n) | view.getBigUint64(at + k, true)
  return value
}
