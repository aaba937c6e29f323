// apache-arrow with LZ4 registered, its frames decoded by a plain twin of the kernel: an independent reader of what varve writes.
import * as arrow from 'apache-arrow'

const RAW = 0x8000_0000

/** One LZ4 frame without dictionary, block by block (lz4_Frame_format.md, lz4_Block_format.md). */
export function decodeLz4Frame(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (view.getUint32(0, true) !== 0x184d2204 || frame[4] !== 0x60) throw new Error('not a frame as varve writes them')
  const out: number[] = []
  let at = 7
  for (;;) {
    const size = view.getUint32(at, true)
    at += 4
    if (size === 0) return Uint8Array.from(out)
    const end = at + (size & ~RAW)
    if (size >= RAW) out.push(...frame.subarray(at, end))
    else decodeBlock(frame.subarray(at, end), out)
    at = end
  }
}

function decodeBlock(block: Uint8Array, out: number[]): void {
  let at = 0
  const length = (nibble: number): number => {
    let total = nibble
    if (nibble < 15) return total
    for (;;) {
      const byte = block[at++]!
      total += byte
      if (byte < 255) return total
    }
  }
  while (at < block.length) {
    const token = block[at++]!
    for (let left = length(token >> 4); left > 0; left--) out.push(block[at++]!)
    if (at >= block.length) return
    const distance = block[at]! | (block[at + 1]! << 8)
    at += 2
    for (let left = length(token & 15) + 4; left > 0; left--) out.push(out[out.length - distance]!)
  }
}

arrow.compressionRegistry.set(arrow.CompressionType.LZ4_FRAME, { decode: decodeLz4Frame })

export { arrow }
