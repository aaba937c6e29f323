// The byte forms of the log: frames, segment header, mark, footer, epoch record, CLEAN, NODE, LOCK text.
import { describe, expect, it } from 'vitest'

import { CorruptionError, StoreTooNewError } from '../../../bindings/errors.ts'
import {
  decodeEpochRecord,
  encodeEpochRecord,
  EPOCH_PAYLOAD_BYTES,
  FOOTER_BYTES,
  frameBytes,
  MARK_BYTES,
  readFooterPayload,
  readFrameHeader,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  writeFooterPayload,
  writeFrameHeader,
  writeSegmentHeader,
  parseHex,
  toHex,
} from '../../../bindings/format/index.ts'
import { decodeClean, decodeNode, encodeClean, encodeNode, type NodeState } from '../../../bindings/log/index.ts'
import { hash64 } from '../../../bindings/log/digest.ts'
import { findFooter, sealFooter } from '../../../bindings/log/footer.ts'
import { scanFrames } from '../../../bindings/log/frame-cursor.ts'
import { decodeSealed, encodeSealed } from '../../../bindings/log/sealed-json.ts'
import { STOP } from '../../../bindings/log/tail.ts'

const PAST_32_BITS = 2 ** 33 + 5

describe('frames', () => {
  it.each([
    [0, 32],
    [1, 40],
    [7, 40],
    [8, 40],
    [9, 48],
    [48, 80],
    [61, 96],
  ])('a payload of %i bytes takes %i', (payload, total) => expect(frameBytes(payload)).toBe(total))

  it('writes and reads a header, LSN and epoch past 32 bits', () => {
    const bytes = new Uint8Array(40)
    writeFrameHeader(new Uint32Array(bytes.buffer), 8, 77, 254, 3, 1, PAST_32_BITS, PAST_32_BITS + 1)
    expect(readFrameHeader(new DataView(bytes.buffer), 8)).toEqual({ length: 77, kind: 254, flags: 3, local: 1, lsn: PAST_32_BITS, epoch: PAST_32_BITS + 1 })
  })

  it('marks and footers have the sizes of the format', () => expect([MARK_BYTES, FOOTER_BYTES, SEGMENT_HEADER_BYTES]).toEqual([80, 96, 64]))
})

describe('segment header', () => {
  const header = { epoch: 7, firstLsn: PAST_32_BITS, seed: 0xfedc_ba98_7654_3210n, mandate: PAST_32_BITS + 3 }

  it('comes back, and not after any changed bit', () => {
    const bytes = new Uint8Array(64)
    writeSegmentHeader(bytes, header, hash64)
    expect(readSegmentHeader(bytes, hash64)).toEqual(header)
    expect(new TextDecoder().decode(bytes.subarray(0, 8))).toBe('VARVEWAL')
    for (let bit = 0; bit < 512; bit++) {
      const changed = bytes.slice()
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => readSegmentHeader(changed, hash64), `bit ${bit}`).toThrow()
    }
    expect(() => readSegmentHeader(bytes.subarray(0, 63), hash64)).toThrow()
  })

  it('of another version says which', () => {
    const bytes = new Uint8Array(64)
    writeSegmentHeader(bytes, header, hash64)
    const view = new DataView(bytes.buffer)
    view.setUint32(8, 2, true)
    view.setBigUint64(56, hash64(bytes.subarray(0, 56)), true)
    expect(readSegmentHeader(bytes, hash64)).toEqual({ version: 2 })
  })
})

describe('footer', () => {
  const footer = { reason: 3, records: 12, firstLsn: PAST_32_BITS, lastLsn: PAST_32_BITS + 11, bytesUsed: 4096, digest: new Uint8Array(32).fill(9) }

  it('payload comes back', () => {
    const bytes = new Uint8Array(70)
    writeFooterPayload(bytes, 5, footer)
    expect(readFooterPayload(bytes, 5)).toEqual(footer)
  })

  it('is sealed so that the scan stops at it, and is found from the end of a file', () => {
    const bytes = sealFooter(footer, 4, 99n)
    expect(scanFrames(bytes, footer.lastLsn + 1, { epoch: 4, seed: 99n })).toMatchObject({
      stop: STOP.footer,
      consumed: FOOTER_BYTES,
      nextLsn: footer.lastLsn + 1,
    })
    expect(scanFrames(bytes, footer.lastLsn + 1, { epoch: 4, seed: 98n })).toMatchObject({ stop: STOP.checksum, consumed: 0 })
    const file = new Uint8Array(4096 + FOOTER_BYTES + 512).fill(0xab, 4096 + FOOTER_BYTES)
    file.set(bytes, 4096)
    expect(findFooter(file, 0, 4, 99n)).toEqual(footer)
    expect(findFooter(file.subarray(4000), 4000, 4, 99n)).toEqual(footer)
    expect(findFooter(file, 8, 4, 99n), 'one that says it lies elsewhere is another file’s').toBeUndefined()
    expect(findFooter(file, 0, 4, 98n), 'a footer of an earlier use').toBeUndefined()
  })
})

describe('epoch record', () => {
  it('comes back in both modes; anything else is refused', () => {
    for (const mode of ['exclusive', 'shared'] as const) {
      const record = { epoch: PAST_32_BITS, writerId: new Uint8Array(16).fill(3), mode }
      expect(decodeEpochRecord(encodeEpochRecord(record))).toEqual(record)
      expect(encodeEpochRecord(record)).toHaveLength(EPOCH_PAYLOAD_BYTES)
    }
    expect(() => decodeEpochRecord(new Uint8Array(24))).toThrow()
    expect(() => decodeEpochRecord(new Uint8Array(29).fill(1)), 'half a mandate').toThrow()
    expect(() => decodeEpochRecord(new Uint8Array(25))).toThrow()
  })
})

describe('epoch record of who was decided on', () => {
  it('says by which mandate its writer writes, behind what it said before; without one it is as it was', () => {
    const record = { epoch: 9, writerId: new Uint8Array(16).fill(3), mode: 'exclusive' } as const
    const decided = encodeEpochRecord({ ...record, mandate: PAST_32_BITS + 1 })
    expect(decided).toHaveLength(EPOCH_PAYLOAD_BYTES + 8)
    expect(decided.subarray(0, EPOCH_PAYLOAD_BYTES)).toEqual(encodeEpochRecord(record))
    expect(decodeEpochRecord(decided)).toEqual({ ...record, mandate: PAST_32_BITS + 1 })
    expect(encodeEpochRecord({ ...record, mandate: 0 })).toEqual(encodeEpochRecord(record))
  })
})

describe('CLEAN', () => {
  const mark = {
    storeId: new Uint8Array(16).fill(1),
    lsn: 2 ** 40,
    count: 3,
    digest: new Uint8Array(32).fill(2),
    segment: 'log/00000000000000000001.wal',
    bytes: 4096,
  }

  it('comes back; one changed bit is CorruptionError naming it', () => {
    const bytes = encodeClean(mark)
    expect(decodeClean(bytes)).toEqual(mark)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = bytes.slice()
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => decodeClean(changed), `bit ${bit}`).toThrow(CorruptionError)
    }
    expect(() => decodeClean(new Uint8Array(0))).toThrow(/CLEAN/)
  })

  it('of a newer format says so', () => expect(() => decodeClean(encodeSealed({ format: 2 }))).toThrow(StoreTooNewError))
})

describe('sealed JSON', () => {
  it('takes strings, numbers and booleans; refuses other spellings of the same value', () => {
    const fields = { pid: 12, host: 'a "quoted" höst', released: true }
    const bytes = encodeSealed(fields)
    expect(decodeSealed(bytes)).toEqual(fields)
    const spaced = new TextEncoder().encode(new TextDecoder().decode(bytes).replace('{', '{ '))
    expect(decodeSealed(spaced)).toBeUndefined()
    for (const text of ['', '[]', 'null', '{}', '{"a":1}']) expect(decodeSealed(new TextEncoder().encode(text))).toBeUndefined()
  })
})

describe('NODE', () => {
  const state: NodeState = {
    seq: 7,
    storeId: new Uint8Array(16).fill(4),
    replicaId: undefined,
    role: 'primary',
    epochSeen: PAST_32_BITS,
    followed: PAST_32_BITS - 7,
    session: 1,
    committedLsn: 2,
    historyFloorLsn: 3,
    floorEpoch: PAST_32_BITS + 1,
    floorMandate: PAST_32_BITS + 2,
    tailEpoch: 4,
    tailFrom: PAST_32_BITS + 3,
    tailBelow: PAST_32_BITS + 4,
    lock: 5,
    ownFrom: PAST_32_BITS,
    promotedEpoch: PAST_32_BITS,
    mandate: PAST_32_BITS - 1,
    promised: PAST_32_BITS,
    decision: '0123456789abcdef'.repeat(2),
    isWhole: true,
  }

  it('has two slots, either of which is enough', () => {
    const bytes = encodeNode(state)
    expect(bytes).toHaveLength(1024)
    expect(decodeNode(bytes)).toEqual({ ...state, seq: 8 })
    const [first, second] = [bytes.slice(), bytes.slice()]
    first[600]! ^= 1
    second[100]! ^= 1
    expect(decodeNode(first)).toEqual(state)
    expect(decodeNode(second)).toEqual({ ...state, seq: 8 })
    first[100]! ^= 1
    expect(decodeNode(first)).toBeUndefined()
    expect(decodeNode(new Uint8Array(10))).toBeUndefined()
  })

  it('knows a replica', () => {
    for (const replicaId of ['r', 'eu-west.2:b', 'x'.repeat(128)]) {
      const replica = { ...state, role: 'replica' as const, replicaId }
      expect(decodeNode(encodeNode(replica))).toEqual({ ...replica, seq: 8 })
    }
  })

  const UNKNOWN = {
    followed: 0,
    floorEpoch: 0,
    floorMandate: 0,
    tailEpoch: 0,
    tailFrom: 0,
    tailBelow: 0,
    lock: 0,
    ownFrom: 0,
    promotedEpoch: 0,
    mandate: 0,
    promised: 0,
    decision: '',
  }

  it('reads what an older version wrote: what it did not know is not known', () => {
    const older = encodeNode({ ...state, ...UNKNOWN, isWhole: false })
    expect(older.subarray(88, 504).every((byte) => byte === 0)).toBe(true)
    expect(decodeNode(older)).toMatchObject({
      replicaId: undefined,
      ...UNKNOWN,
      isWhole: false,
      historyFloorLsn: 3,
    })
  })
})

it('hex comes back and nothing else passes', () => {
  const bytes = Uint8Array.from([0, 1, 15, 16, 255])
  expect(toHex(bytes)).toBe('00010f10ff')
  expect(parseHex('00010f10ff', 5)).toEqual(bytes)
  for (const bad of ['00010f10f', '00010F10FF', '00010f10fg', 5, undefined]) expect(parseHex(bad, 5)).toBeUndefined()
})
