// table/byte-sink.ts: growable scratch bytes with a cursor: what rows, keys and texts are encoded into.
//
// Invariant: bytes [0, at) are written; bytes and view show the same buffer and are replaced together when it grows, so holders keep offsets.

export interface ByteSink {
  bytes: Uint8Array<ArrayBuffer>
  view: DataView<ArrayBuffer>
  /** The next byte to write. */
  at: number
}

export function byteSink(capacityBytes = 4096): ByteSink {
  const bytes = new Uint8Array(capacityBytes)
  return { bytes, view: new DataView(bytes.buffer), at: 0 }
}

/** Room for `count` more bytes after `at`. */
export function reserve(sink: ByteSink, count: number): void {
  if (sink.at + count > sink.bytes.length) grow(sink, sink.at + count)
}

function grow(sink: ByteSink, bytesMin: number): void {
  const bytes = new Uint8Array(Math.max(bytesMin, sink.bytes.length * 2))
  bytes.set(sink.bytes.subarray(0, sink.at))
  sink.bytes = bytes
  sink.view = new DataView(bytes.buffer)
}

/** A copy of what was written from `start` on. */
export function sinkBytes(sink: ByteSink, start = 0): Uint8Array<ArrayBuffer> {
  return sink.bytes.slice(start, sink.at)
}

const encoder = new TextEncoder()
/** Above this many UTF-16 units the runtime's encoder beats a loop. */
const LOOP_UNITS_MAX = 40

/** Write a string as UTF-8. False, and nothing written, for one with a lone surrogate: UTF-8 cannot hold it. */
export function putText(sink: ByteSink, text: string): boolean {
  const units = text.length
  if (sink.at + units * 3 > sink.bytes.length) grow(sink, sink.at + units * 3)
  const bytes = sink.bytes
  if (units > LOOP_UNITS_MAX) {
    if (!text.isWellFormed()) return false
    sink.at += encoder.encodeInto(text, bytes.subarray(sink.at)).written
    return true
  }
  let at = sink.at
  for (let i = 0; i < units; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      bytes[at++] = unit
    } else if (unit < 0x800) {
      bytes[at++] = 0xc0 | (unit >> 6)
      bytes[at++] = 0x80 | (unit & 0x3f)
    } else if (unit < 0xd800 || unit > 0xdfff) {
      bytes[at++] = 0xe0 | (unit >> 12)
      bytes[at++] = 0x80 | ((unit >> 6) & 0x3f)
      bytes[at++] = 0x80 | (unit & 0x3f)
    } else {
      const low = i + 1 < units ? text.charCodeAt(i + 1) : 0
      if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) return false
      const point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
      i++
      bytes[at++] = 0xf0 | (point >> 18)
      bytes[at++] = 0x80 | ((point >> 12) & 0x3f)
      bytes[at++] = 0x80 | ((point >> 6) & 0x3f)
      bytes[at++] = 0x80 | (point & 0x3f)
    }
  }
  sink.at = at
  return true
}
