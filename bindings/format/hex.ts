// format/hex.ts: bytes as lower-case hex: names of files, ids in texts.

const ZERO = 0x30
/** From the digit behind 9 to `a`. */
const GAP = 0x61 - ZERO - 10
/** Bytes at a time: arguments of one call. */
const STEP = 256
const codes: number[] = []

export function toHex(bytes: Uint8Array): string {
  if (bytes.length > STEP) return toHex(bytes.subarray(0, STEP)) + toHex(bytes.subarray(STEP))
  codes.length = 2 * bytes.length
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!
    codes[2 * i] = codeOf(byte >>> 4)
    codes[2 * i + 1] = codeOf(byte & 15)
  }
  // One flat text: names and ids are kept, and hashed as keys.
  return String.fromCharCode.apply(null, codes)
}

/** Of text that is known to be hex. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length >> 1)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (digitOf(text.charCodeAt(2 * i)) << 4) | digitOf(text.charCodeAt(2 * i + 1))
  return bytes
}

/** @returns undefined when it is not `bytes` bytes of lower-case hex */
export function parseHex(text: unknown, bytes: number): Uint8Array<ArrayBuffer> | undefined {
  return typeof text === 'string' && text.length === bytes * 2 && /^[0-9a-f]*$/.test(text) ? fromHex(text) : undefined
}

function codeOf(digit: number): number {
  return ZERO + digit + (digit > 9 ? GAP : 0)
}

/** Digits are 0x30 .. 0x39, letters 0x41 .. and 0x61 ...: those have bit 6 and 9 more. */
function digitOf(code: number): number {
  return (code & 15) + (code >>> 6) * 9
}
