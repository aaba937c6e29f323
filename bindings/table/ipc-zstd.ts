// table/ipc-zstd.ts: one zstd frame of stated length (RFC 8878), by the host's own decoder or by one in JavaScript.
//
//   magic 28B52FFD | descriptor | [window] | [content bytes 1, 2, 4 or 8] | { u24: last 1 bit, kind 2 bits, size 21 bits | bytes }… | [checksum 4]
//
// The frame is walked first: both decoders then see one whole frame, whose output is bounded before anything is allocated for it, and both must give
// exactly the stated length, and that of the checksum where there is one. Invariant: damaged bytes are DecodeError, whichever decoder meets them.
import { DecodeError } from '../format/index.ts'
import { xxh64, zstdContentBytes } from '../kernels/index.ts'

/** The plain bytes of one frame that holds at most `bytesMax`; throws anything where it is damaged. */
export type ZstdDecode = (frame: Uint8Array, bytesMax: number) => Uint8Array

/** A block yields at most 128 KiB; it takes four bytes at least. */
export const ZSTD_RATIO_MAX = 32_768
const MAGIC = 0xfd2f_b528
const BLOCK_BYTES_MAX = 2 ** 17
/** What decoders allow unless told otherwise. */
const WINDOW_BYTES_MAX = 2 ** 27
const BLOCK = { raw: 0, rle: 1, compressed: 2 } as const
const CHECKSUM = 4

interface Frame {
  readonly headerBytes: number
  /** Undefined = not stated. */
  readonly contentBytes: number | undefined
  readonly windowBytes: number
  readonly hasChecksum: boolean
}

/** The plain bytes of a frame, exactly `stated` of them. @throws DecodeError */
export function zstdFrameDecode(frame: Uint8Array, stated: number, decode: ZstdDecode): Uint8Array {
  walk(frame, stated)
  let plain: Uint8Array
  try {
    plain = decode(frame, stated)
  } catch (cause) {
    throw new DecodeError(`zstd: ${cause instanceof Error ? cause.message : String(cause)}`, 0)
  }
  if (plain.length !== stated) throw new DecodeError(`zstd: ${plain.length} bytes decoded, ${stated} stated`, 0)
  return plain
}

/** A decoder in JavaScript, for hosts without one: some ten times slower. */
export async function plainZstd(): Promise<ZstdDecode> {
  const { decompressZstd } = await import('hyparquet-compressors')
  return (frame) => {
    const header = readHeader(frame)
    const plain = decompressZstd(withoutLength(frame, header))
    if (header.hasChecksum) {
      const sum = new DataView(frame.buffer, frame.byteOffset + frame.length - 4, 4).getUint32(0, true)
      if (sum !== xxh64(plain).lo) throw new DecodeError('checksum mismatch', frame.length - 4)
    }
    return plain
  }
}

function readHeader(frame: Uint8Array): Frame {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < 6 || view.getUint32(0, true) !== MAGIC) throw new DecodeError('zstd: no frame', 0)
  const descriptor = frame[4]!
  if ((descriptor & 8) !== 0) throw new DecodeError('zstd: reserved bits set in the frame header', 4)
  if ((descriptor & 3) !== 0) throw new DecodeError('zstd: a frame with a dictionary', 4)
  const isSingle = (descriptor & 32) !== 0
  const lengthCode = descriptor >> 6
  const lengthBytes = lengthCode === 0 ? (isSingle ? 1 : 0) : 1 << lengthCode
  const at = isSingle ? 5 : 6
  const headerBytes = at + lengthBytes
  if (headerBytes > frame.length) throw new DecodeError('zstd: truncated header', at)
  const contentBytes = zstdContentBytes(frame)
  const windowBytes = isSingle ? contentBytes! : windowOf(frame[5]!)
  if (windowBytes > WINDOW_BYTES_MAX) throw new DecodeError(`zstd: a window of ${windowBytes} bytes`, 5)
  return { headerBytes, contentBytes, windowBytes, hasChecksum: (descriptor & CHECKSUM) !== 0 }
}

function windowOf(code: number): number {
  const base = 2 ** (10 + (code >> 3))
  return base + (base / 8) * (code & 7)
}

/** Holds the blocks of a frame against its end, and the most they can yield against what is stated. */
function walk(frame: Uint8Array, stated: number): void {
  const { headerBytes, contentBytes, windowBytes, hasChecksum } = readHeader(frame)
  if (contentBytes !== undefined && contentBytes !== stated) throw new DecodeError(`zstd: a frame of ${contentBytes} bytes, ${stated} stated`, 0)
  const blockMax = Math.min(windowBytes, BLOCK_BYTES_MAX)
  let at = headerBytes
  let yields = 0
  for (let isLast = false; !isLast;) {
    if (at + 3 > frame.length) throw new DecodeError('zstd: truncated block', at)
    const word = frame[at]! | (frame[at + 1]! << 8) | (frame[at + 2]! << 16)
    isLast = (word & 1) === 1
    const kind = (word >> 1) & 3
    const size = word >> 3
    if (kind > BLOCK.compressed || size > blockMax) throw new DecodeError(`zstd: a block of kind ${kind} and ${size} bytes`, at)
    yields += kind === BLOCK.compressed ? blockMax : size
    at += 3 + (kind === BLOCK.rle ? 1 : size)
  }
  if (hasChecksum) at += 4
  if (at !== frame.length) throw new DecodeError(`zstd: a frame of ${at} bytes in ${frame.length}`, Math.min(at, frame.length))
  if (stated > yields) throw new DecodeError(`zstd: ${stated} bytes stated over blocks that yield at most ${yields}`, 0)
}

/**
 * The frame without its content length. With one the decoder takes the length for the output's, pads what is missing and drops what is too much;
 * without, its output is as long as the blocks make it.
 */
function withoutLength(frame: Uint8Array, { headerBytes, windowBytes, hasChecksum }: Frame): Uint8Array {
  const exponent = Math.max(0, Math.ceil(Math.log2(Math.max(1, windowBytes))) - 10)
  const out = new Uint8Array(6 + frame.length - headerBytes)
  out.set(frame.subarray(0, 4))
  out[4] = hasChecksum ? CHECKSUM : 0
  out[5] = exponent << 3
  out.set(frame.subarray(headerBytes), 6)
  return out
}
