// kernels/lz4-buffer.ts: LZ4 frames from and to buffers in kernel memory, for varve/kernels: what comes out is hashed, scanned or written without a copy.
//
// Invariant: input and output do not overlap, and nothing outside the target is written.
import { InvalidConfigError } from '../errors.ts'
import { bytesIn, type KernelBuffer, type KernelBytes, placeIn, viewOf } from './buffer.ts'
import { kernels } from './instance.ts'
import { lz4FrameBound, lz4FrameDecodeInto as decodeAt, lz4FrameEncodeInto as encodeAt } from './lz4.ts'

/**
 * As `lz4FrameEncode`, to the beginning of a buffer.
 *
 * @param target  at least `lz4FrameBound(bytes.byteLength)` bytes; what lies behind the frame in it is unspecified
 * @returns bytes of the frame
 * @throws RangeError for a target that is too small; InvalidConfigError (key `buffer`) when it is released or holds the input; errors of `lz4FrameEncode`
 * @cost one copy in, unless the bytes are in kernel memory
 * @example const written = lz4FrameEncodeInto(page, buffer)
 */
export function lz4FrameEncodeInto(bytes: KernelBytes, target: KernelBuffer): number {
  const n = viewOf(bytes).byteLength
  const bound = lz4FrameBound(n)
  if (target.byteLength < bound) throw new RangeError(`a target of ${target.byteLength} bytes for a frame of up to ${bound}`)
  return run(bytes, n, target, (source, at) => encodeAt(kernels(), source, n, at, bound))
}

/**
 * As `lz4FrameDecode`, to the beginning of a buffer: exactly `statedLength` bytes of it are written.
 *
 * @param statedLength  all of the buffer when left out
 * @throws RangeError for a target that is too small; InvalidConfigError (key `buffer`) when it is released or holds the input; errors of `lz4FrameDecode`, after
 *   which the target's bytes are unspecified
 * @cost one copy in, unless the bytes are in kernel memory
 * @example lz4FrameDecodeInto(body, page, 65536)
 */
export function lz4FrameDecodeInto(bytes: KernelBytes, target: KernelBuffer, statedLength: number = target.byteLength): void {
  const n = viewOf(bytes).byteLength
  if (!(Number.isInteger(statedLength) && statedLength >= 0 && statedLength <= target.byteLength)) {
    throw new RangeError(`${statedLength} bytes to decode into a target of ${target.byteLength}`)
  }
  run(bytes, n, target, (source, at) => decodeAt(kernels(), source, n, at, statedLength))
}

function run<T>(bytes: KernelBytes, n: number, target: KernelBuffer, call: (source: number, at: number) => T): T {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    const at = placeIn(k, target)
    const source = bytesIn(k, bytes)
    if (source < at + target.byteLength && at < source + n) {
      throw new InvalidConfigError('the target holds the input', { details: { key: 'buffer', value: 'overlap' }, hint: 'Write to a buffer of its own.' })
    }
    return call(source, at)
  } finally {
    k.arena.rewind(mark)
  }
}
