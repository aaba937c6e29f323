// cli/formats/arrow-codecs.ts: LZ4_FRAME and ZSTD for apache-arrow, which brings no codecs of its own.
//
// ZSTD comes from hyparquet-compressors; LZ4 frames (format 1.6.4) are decoded here, plainly, since no maintained package decodes frames alone.
// Nothing of varve's own kernels takes part: a fragment that reads this way is readable by others. Invariant: no byte outside input or output is touched.
import type * as Arrow from 'apache-arrow'
import { CliError } from '../failure.ts'

const MAGIC = 0x184d2204
const STORED = 0x80000000
const MATCH_MIN = 4

/** apache-arrow with its codecs in place. */
export async function loadArrow(): Promise<typeof Arrow> {
  const arrow = await import('apache-arrow')
  const { compressionRegistry, CompressionType } = arrow
  if (compressionRegistry.get(CompressionType.ZSTD) === null) {
    const { compressors } = await import('hyparquet-compressors')
    const zstd = compressors.ZSTD!
    compressionRegistry.set(CompressionType.ZSTD, { decode: (data) => zstd(data, 0) })
    compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: decodeLz4Frame })
  }
  return arrow
}

/** The content of one LZ4 frame; what follows its end mark is padding. Checksums are left to whoever wrote the file's own. */
export function decodeLz4Frame(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < 7 || view.getUint32(0, true) !== MAGIC) throw damaged('no LZ4 frame')
  const flags = frame[4]!
  const hasContentSize = (flags & 8) !== 0
  const blockChecksumBytes = (flags & 16) !== 0 ? 4 : 0
  let at = 6 + (hasContentSize ? 8 : 0) + ((flags & 1) !== 0 ? 4 : 0) + 1
  if (at > frame.length) throw damaged('an LZ4 frame header beyond its end')
  // A stated size is only a hint of how much room to make: no block grows more than 255 times.
  const out = new Growing(hasContentSize ? Math.min(Number(view.getBigUint64(6, true)), frame.length * 255) : frame.length * 4)
  for (;;) {
    if (at + 4 > frame.length) throw damaged('an LZ4 frame without its end')
    const size = view.getUint32(at, true)
    at += 4
    if (size === 0) return out.bytes()
    const end = at + (size & ~STORED)
    if (end > frame.length) throw damaged('an LZ4 block beyond its frame')
    const block = frame.subarray(at, end)
    if (size >= STORED) out.append(block)
    else decodeBlock(block, out)
    at = end + blockChecksumBytes
  }
}

/** Sequences of literals and matches; a match may reach back into earlier blocks. */
function decodeBlock(block: Uint8Array, out: Growing): void {
  let at = 0
  const length = (nibble: number): number => {
    let total = nibble
    if (nibble !== 15) return total
    let byte: number
    do {
      if (at >= block.length) throw damaged('an LZ4 length beyond its block')
      byte = block[at++]!
      total += byte
    } while (byte === 255)
    return total
  }
  while (at < block.length) {
    const token = block[at++]!
    const literals = length(token >> 4)
    if (at + literals > block.length) throw damaged('LZ4 literals beyond their block')
    out.append(block.subarray(at, at + literals))
    at += literals
    // The last sequence has literals only.
    if (at === block.length) return
    if (at + 2 > block.length) throw damaged('an LZ4 offset beyond its block')
    const offset = block[at]! | (block[at + 1]! << 8)
    at += 2
    out.repeat(offset, length(token & 15) + MATCH_MIN)
  }
}

class Growing {
  #buffer: Uint8Array
  #length = 0

  constructor(bytes: number) {
    this.#buffer = new Uint8Array(Math.max(64, Math.min(bytes, 2 ** 31)))
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  repeat(offset: number, count: number): void {
    if (offset === 0 || offset > this.#length) throw damaged('an LZ4 match before its start')
    this.#reserve(count)
    const buffer = this.#buffer
    let to = this.#length
    let from = to - offset
    const end = to + count
    if (offset >= count) buffer.copyWithin(to, from, from + count)
    else while (to < end) buffer[to++] = buffer[from++]!
    this.#length = end
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  #reserve(count: number): void {
    const wanted = this.#length + count
    if (wanted <= this.#buffer.length) return
    const larger = new Uint8Array(Math.max(wanted, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
  }
}

function damaged(why: string): CliError {
  return new CliError(`Arrow data: ${why}`, 'Write the file again.')
}
