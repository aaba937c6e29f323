// kernels/byte-strings.ts: byte strings compared on this side of the boundary: unsigned, a shorter one before its extensions.

/** Negative, 0 or positive. */
export function compareByteStrings(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length)
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}
