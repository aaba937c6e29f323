// bytes.ts: small helpers of the kernel tests.

/** Deterministic bytes without structure. */
export function noise(bytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes)
  let state = seed >>> 0 || 1
  for (let i = 0; i < bytes; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    out[i] = state >>> 11
  }
  return out
}

/** The buffer of xxHash's sanity check: byte i is the top byte of PRIME32_1 * PRIME64^i. */
export function sanityBuffer(bytes: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes)
  let generator = 2_654_435_761n
  for (let i = 0; i < bytes; i++) {
    out[i] = Number(generator >> 56n)
    generator = BigInt.asUintN(64, generator * 11_400_714_785_074_694_797n)
  }
  return out
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts))
}
