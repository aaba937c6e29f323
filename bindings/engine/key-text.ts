// engine/key-text.ts: canonical key bytes as text that a Map can hold.

/** Key bytes as a string usable in a Map. */
export function keyText(bytes: Uint8Array, start: number = 0, end: number = bytes.length): string {
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}

export function keyBytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}
