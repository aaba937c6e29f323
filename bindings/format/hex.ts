// format/hex.ts: bytes as lower-case hex: names of files, ids in texts.

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += DIGITS[byte]!
  return text
}

/** Of text that is known to be hex. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length >> 1)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

/** @returns undefined when it is not `bytes` bytes of lower-case hex */
export function parseHex(text: unknown, bytes: number): Uint8Array<ArrayBuffer> | undefined {
  return typeof text === 'string' && text.length === bytes * 2 && /^[0-9a-f]*$/.test(text) ? fromHex(text) : undefined
}
