// kernels/arrow-codecs.ts: LZ4 and zstd for Arrow libraries, which bring no codecs of their own: apache-arrow's compressionRegistry, flechette's
// setCompressionCodec.
//
// Neither library hands its codec the length that the Arrow buffer states: the frames' own headers and blocks bound what is allocated, and one that holds
// another length than the buffer states is left to the library. Invariant: a codec that the host application registered stays.
import { noLibrary } from './column-checks.ts'
import { lz4FrameDecode, lz4FrameEncode } from './lz4.ts'
import { nativeZstd } from './load.ts'
import { zstdContentBytes } from './zstd.ts'

/** What Arrow libraries take as a codec. */
export interface ArrowCodec {
  encode?(bytes: Uint8Array): Uint8Array
  decode(bytes: Uint8Array): Uint8Array
}

/** The part of apache-arrow that is looked at: hand in the module itself. */
export interface ArrowCompression {
  readonly CompressionType: { readonly LZ4_FRAME: number; readonly ZSTD: number }
  readonly compressionRegistry: { get(type: number): unknown; set(type: number, codec: any): void }
}

/** LZ4 frames by the kernels: written with independent blocks of at most 4 MiB, read with linked ones and checksums too. */
export const lz4Codec: Required<ArrowCodec> = { encode: (bytes) => lz4FrameEncode(bytes), decode: (bytes) => lz4FrameDecode(bytes) }

const ZSTD_BYTES_MAX = 2 ** 31 - 1

/**
 * Gives apache-arrow the codecs it lacks: LZ4_FRAME in both directions, and reading of ZSTD where the host has zstd of its own. Those it has stay.
 *
 * @returns which were registered by this call
 * @throws InvalidConfigError (key `arrow`) for what is not the module
 * @example import * as arrow from 'apache-arrow'; registerArrowCodecs(arrow)
 */
export function registerArrowCodecs(arrow: ArrowCompression): { readonly lz4: boolean; readonly zstd: boolean } {
  const { CompressionType, compressionRegistry } = (arrow ?? {}) as Partial<ArrowCompression>
  if (CompressionType === undefined || compressionRegistry === undefined) throw noLibrary(arrow)
  const lz4 = isMissing(compressionRegistry.get(CompressionType.LZ4_FRAME))
  if (lz4) compressionRegistry.set(CompressionType.LZ4_FRAME, lz4Codec)
  const decode = nativeZstd()
  const zstd = decode !== undefined && isMissing(compressionRegistry.get(CompressionType.ZSTD))
  if (zstd) compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => wholeFrame(bytes, decode) } satisfies ArrowCodec)
  return { lz4, zstd }
}

/** Some hosts give what there is of a frame that was cut. */
function wholeFrame(frame: Uint8Array, decode: (frame: Uint8Array, bytesMax: number) => Uint8Array): Uint8Array {
  const stated = zstdContentBytes(frame)
  const plain = decode(frame, stated === undefined ? ZSTD_BYTES_MAX : Math.min(stated, ZSTD_BYTES_MAX))
  if (stated !== undefined && plain.byteLength !== stated) throw new RangeError(`zstd: ${plain.byteLength} bytes decoded, the frame states ${stated}`)
  return plain
}

function isMissing(codec: unknown): boolean {
  return codec === null || codec === undefined
}
