// oracles/crc32c.ts: CRC-32C bit by bit, from its definition.

export function oracleCrc32c(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}
