// The header of a slot: its bytes, and that nothing that was changed is believed.
import { describe, expect, it } from 'vitest'

import { DecodeError, readSlotHeader, SLOT_HEADER_BYTES, type SlotHeader, writeSlotHeader } from '../../../bindings/format/index.ts'
import { xxh3BigInt } from '../../../bindings/kernels/index.ts'

const HEADER: SlotHeader = {
  count: 3,
  payloadBytes: 264,
  firstLsn: 2 ** 40 + 7,
  epoch: 9,
  highestEpoch: 11,
  seed: 0x1122_3344_5566_7788n,
  writerId: new Uint8Array(16).fill(0xa1),
  attempt: new Uint8Array(16).fill(0xb2),
  digest: new Uint8Array(32).fill(0xc3),
}

function written(header: SlotHeader = HEADER): Uint8Array {
  const bytes = new Uint8Array(SLOT_HEADER_BYTES + 8).fill(0xff)
  writeSlotHeader(bytes, header, xxh3BigInt)
  return bytes.slice(0, SLOT_HEADER_BYTES)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('slot header', () => {
  it('lies as docs/format.md says', () => {
    const fields = [
      hex(new TextEncoder().encode('VARVEOBJ')),
      '01000000' + '80000000' + '03000000' + '08010000',
      '0700000000010000' + '0900000000000000' + '0b00000000000000' + '8877665544332211',
      'a1'.repeat(16) + 'b2'.repeat(16) + 'c3'.repeat(32),
    ]
    expect(hex(written().subarray(0, 120))).toBe(fields.join(''))
    expect(readSlotHeader(written(), xxh3BigInt)).toEqual(HEADER)
  })

  it('does not verify with any bit flipped, nor short, nor without records', () => {
    const bytes = written()
    for (let bit = 0; bit < SLOT_HEADER_BYTES * 8; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => readSlotHeader(flipped, xxh3BigInt), `bit ${bit}`).toThrow(DecodeError)
    }
    expect(() => readSlotHeader(bytes.subarray(0, 127), xxh3BigInt)).toThrow(DecodeError)
    expect(() => readSlotHeader(written({ ...HEADER, count: 0 }), xxh3BigInt)).toThrow(DecodeError)
  })

  it('tells the version of a newer one, if it verifies', () => {
    const bytes = written()
    bytes[8] = 2
    new DataView(bytes.buffer).setBigUint64(120, xxh3BigInt(bytes.subarray(0, 120)), true)
    expect(readSlotHeader(bytes, xxh3BigInt)).toEqual({ version: 2 })
  })
})
