// oracles/lz4.ts: LZ4 blocks (lz4_Block_format.md), byte by byte: a decoder, and blocks written from a list of what they hold.

/** What follows `history`, or undefined when the block contradicts itself. */
export function oracleLz4Decode(block: Uint8Array, history: Uint8Array = new Uint8Array(0)): Uint8Array | undefined {
  const out = [...history]
  let at = 0
  const more = (start: number): number | undefined => {
    if (start < 15) return start
    let length = start
    for (;;) {
      const byte = block[at++]
      if (byte === undefined) return undefined
      length += byte
      if (byte < 255) return length
    }
  }
  for (;;) {
    const token = block[at++]
    if (token === undefined) return undefined
    const literals = more(token >> 4)
    if (literals === undefined || literals > block.length - at) return undefined
    for (let i = 0; i < literals; i++) out.push(block[at++]!)
    if (at === block.length) return Uint8Array.from(out.slice(history.length))
    if (block.length - at < 2) return undefined
    const distance = block[at]! | (block[at + 1]! << 8)
    at += 2
    const length = more(token & 15)
    if (length === undefined || distance === 0 || distance > out.length) return undefined
    for (let i = 0; i < length + 4; i++) out.push(out[out.length - distance]!)
  }
}

/** Where the matches of a good block begin and end in what it decodes to. */
export function lz4Matches(block: Uint8Array): { start: number; end: number; distance: number }[] {
  const matches: { start: number; end: number; distance: number }[] = []
  let at = 0
  let made = 0
  const more = (start: number): number => {
    let length = start
    if (start === 15) for (let byte = 255; byte === 255; length += byte) byte = block[at++]!
    return length
  }
  while (at < block.length) {
    const token = block[at++]!
    const literals = more(token >> 4)
    at += literals
    made += literals
    if (at >= block.length) break
    const distance = block[at]! | (block[at + 1]! << 8)
    at += 2
    const length = more(token & 15) + 4
    matches.push({ start: made, end: made + length, distance })
    made += length
  }
  return matches
}

export interface Sequence {
  readonly literals: Uint8Array
  /** Absent in the last sequence. */
  readonly match?: { readonly distance: number; readonly length: number }
}

export function writeLz4(sequences: readonly Sequence[]): Uint8Array {
  const out: number[] = []
  const rest = (length: number): void => {
    let left = length - 15
    for (; left >= 255; left -= 255) out.push(255)
    if (left >= 0) out.push(left)
  }
  for (const { literals, match } of sequences) {
    const matched = match === undefined ? 0 : match.length - 4
    out.push((Math.min(15, literals.length) << 4) | Math.min(15, matched))
    if (literals.length >= 15) rest(literals.length)
    for (const byte of literals) out.push(byte)
    if (match === undefined) continue
    out.push(match.distance & 255, match.distance >> 8)
    if (matched >= 15) rest(matched)
  }
  return Uint8Array.from(out)
}
