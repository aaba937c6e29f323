// kernels/zstd.ts: how much a zstd frame says it holds (RFC 8878 section 3.1.1.1): Arrow libraries hand their codecs no length to hold a result against.

/** The content length in the header of a frame; undefined where it states none, or is none. */
export function zstdContentBytes(frame: Uint8Array): number | undefined {
  if (frame.byteLength < 6) return undefined
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const descriptor = view.getUint8(4)
  const isSingle = (descriptor & 32) !== 0
  const code = descriptor >> 6
  if (code === 0 && !isSingle) return undefined
  // The window is left out of frames of a single segment; a dictionary's id takes 0, 1, 2 or 4 bytes.
  const at = (isSingle ? 5 : 6) + [0, 1, 2, 4][descriptor & 3]!
  const bytes = 1 << code
  if (at + bytes > frame.byteLength) return undefined
  if (bytes === 1) return view.getUint8(at)
  if (bytes === 2) return view.getUint16(at, true) + 256
  return view.getUint32(at, true) + (bytes === 8 ? view.getUint32(at + 4, true) * 2 ** 32 : 0)
}
