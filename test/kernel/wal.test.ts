import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { encodeFrame, KernelInstance, kernels, resyncBytes, scanBytes, scanInPlace, sealFrame, WAL_STOP, walStopName } from '../../bindings/kernels/index.ts'
import type { FrameFields } from '../../bindings/kernels/index.ts'
import { concat, hex, noise } from './bytes.ts'
import { oracleXxh3 } from './oracles/xxh3.ts'

const SEED = 0x1234_5678_9abc_def0n
const SIZES = [0, 1, 7, 8, 64, 1024, 65_536]

const record = (n: number, lsn: number, o: Partial<FrameFields> = {}): Uint8Array =>
  encodeFrame(noise(n, lsn), { kind: 1, flags: 0, local: 0, lsn, epoch: 3, ...o }, SEED)

const mark = (lsn: number): Uint8Array => encodeFrame(noise(48, 9), { kind: 254, flags: 0, local: 1, lsn, epoch: 3 }, SEED)
const footer = (lsn: number): Uint8Array => encodeFrame(noise(61, 8), { kind: 255, flags: 0, local: 1, lsn, epoch: 3 }, SEED)

const scan = (bytes: Uint8Array, o: { firstLsn?: bigint; epoch?: bigint; seed?: bigint; capacity?: number } = {}): ReturnType<typeof scanBytes> =>
  scanBytes(bytes, { firstLsn: 10n, epoch: 3n, seed: SEED, ...o })

function offsetsOf(frames: readonly Uint8Array[]): number[] {
  let at = 0
  return frames.map((frame) => (at += frame.length) - frame.length)
}

describe('frames', () => {
  it('have the bytes of the format', () => {
    for (const n of SIZES) {
      const payload = noise(n, 4)
      const lsn = 0x1_0000_0001
      const frame = encodeFrame(payload, { kind: 12, flags: 3, local: 1, lsn, epoch: 0x2_0000_0003 }, SEED)
      const view = new DataView(frame.buffer)
      expect(frame.length).toBe(Math.ceil((32 + n) / 8) * 8)
      expect(view.getUint32(8, true)).toBe(n)
      expect([...frame.subarray(12, 16)]).toEqual([12, 3, 1, 0])
      expect(view.getBigUint64(16, true)).toBe(BigInt(lsn))
      expect(view.getBigUint64(24, true)).toBe(0x2_0000_0003n)
      expect(hex(frame.subarray(32, 32 + n))).toBe(hex(payload))
      expect(frame.subarray(32 + n).every((byte) => byte === 0)).toBe(true)
      expect(view.getBigUint64(0, true)).toBe(oracleXxh3(frame.subarray(8, 32 + n), SEED))
    }
  })

  it('are sealed in place: stale bytes in the padding are zeroed, nothing behind is written', () => {
    const k = new KernelInstance({ fixedBytes: 4096 })
    const seedPtr = k.arena.reserve(8)
    k.view.setBigUint64(seedPtr, SEED, true)
    const p = k.arena.reserve(256)
    for (let n = 0; n <= 33; n++) {
      k.u8.fill(0xee, p, p + 256)
      const payload = noise(n, 5)
      k.u8.set(payload, p + 32)
      const fields = { kind: 2, flags: 0, local: 0, lsn: 7, epoch: 1 }
      const total = sealFrame(k, p, n, fields, seedPtr)
      expect(hex(k.copyOut(p, total))).toBe(hex(encodeFrame(payload, fields, SEED)))
      expect(k.u8[p + total]).toBe(0xee)
    }
    const far = k.arena.reserve(64)
    k.u8.set(noise(40, 6), far)
    const total = k.exports.frame_write(p, far, 40, 2, 0, 0, 7, 0, 1, 0, seedPtr)
    expect(hex(k.copyOut(p, total))).toBe(hex(encodeFrame(noise(40, 6), { kind: 2, flags: 0, local: 0, lsn: 7, epoch: 1 }, SEED)))
  })
})

describe('wal_scan', () => {
  it('gives all offsets in order and stop End', () => {
    const frames = SIZES.map((n, i) => record(n, 10 + i, { flags: i % 4, local: i & 1, kind: 1 + i }))
    const result = scan(concat(frames))
    expect([...result.offsets]).toEqual(offsetsOf(frames))
    expect(result).toMatchObject({ count: 7, stop: WAL_STOP.end, nextLsn: 17n, lastMark: -1, footer: -1, consumed: concat(frames).length })
    expect(scan(new Uint8Array(0))).toMatchObject({ count: 0, stop: WAL_STOP.end, consumed: 0, nextLsn: 10n })
  })

  it('stops before a record truncated at any byte', () => {
    for (const n of [0, 1, 8, 61, 300]) {
      const first = record(40, 10)
      const last = record(n, 11)
      const bytes = concat([first, last])
      for (let cut = first.length + 1; cut < bytes.length; cut++) {
        const result = scan(bytes.subarray(0, cut))
        expect([...result.offsets]).toEqual([0])
        expect(result.consumed).toBe(first.length)
        expect(walStopName(result.stop)).toBe('short')
        // The same cut in a preallocated segment: zeros follow.
        const zeroed = bytes.slice()
        zeroed.fill(0, cut)
        const torn = scan(concat([zeroed, new Uint8Array(64)]))
        if (torn.count === 1) expect(['checksum', 'zeros']).toContain(walStopName(torn.stop))
        // Only zeros were lost: the record is whole.
        else expect(hex(zeroed)).toBe(hex(bytes))
      }
    }
  })

  it('does not emit a record with any one bit flipped', () => {
    const before = record(16, 10)
    const good = record(21, 11)
    const after = record(5, 12, { local: 1 })
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = good.slice()
      bad[bit >>> 3]! ^= 1 << (bit & 7)
      const bytes = concat([before, bad, after])
      const result = scan(bytes)
      expect([...result.offsets], `bit ${bit}`).toEqual([0])
      expect(['checksum', 'short', 'length', 'padding'], `bit ${bit}`).toContain(walStopName(result.stop))
      expect(result.consumed).toBe(before.length)
      expect(resyncBytes(bytes, SEED, before.length + 8)).toBe(before.length + good.length)
    }
  })

  it('does not verify a record of an earlier use of the file, under another seed', () => {
    const old = encodeFrame(noise(30), { kind: 1, flags: 0, local: 0, lsn: 11, epoch: 3 }, SEED + 1n)
    const result = scan(concat([record(30, 10), old]))
    expect(result).toMatchObject({ count: 1, stop: WAL_STOP.checksum })
    expect(resyncBytes(old, SEED)).toBe(-1)
  })

  it('stops at a lying length without wrapping, also at the very end of memory', () => {
    const k = new KernelInstance({ fixedBytes: 65_536 })
    const end = k.memory.buffer.byteLength
    const result = k.arena.reserve(24)
    const out = k.arena.reserve(64)
    const seedPtr = k.arena.reserve(8)
    const stopOf = (length: number, room: number): number => {
      const p = end - room
      k.u8.fill(1, p, end)
      k.view.setUint32(p + 8, length, true)
      const count = k.exports.wal_scan(p, room, 1n, 0n, seedPtr, out, 16, result)
      expect(count).toBe(0)
      expect(k.exports.wal_resync(p, room, seedPtr) >>> 0).toBe(0xffffffff)
      return k.u32[(result >>> 2) + 1]!
    }
    for (const room of [32, 40, 64, 1024]) {
      for (const length of [0xffffffff, 0xfffffff8, 0xffffffe0, 0x80000000, 64 * 1024 * 1024 - 31]) expect(stopOf(length, room)).toBe(WAL_STOP.length)
      for (const length of [64 * 1024 * 1024 - 32, room - 31, room]) expect(stopOf(length, room)).toBe(WAL_STOP.short)
      expect(stopOf(room - 32, room)).toBe(WAL_STOP.checksum)
    }
    for (let room = 1; room < 32; room++) {
      k.u8.fill(1, end - room, end)
      k.exports.wal_scan(end - room, room, 1n, 0n, seedPtr, out, 16, result)
      expect(k.u32[(result >>> 2) + 1]!).toBe(WAL_STOP.short)
    }
  })

  it('resumed with small capacities, gives the union of one call', () => {
    const frames = [mark(10), record(8, 10), record(1, 11), mark(12), record(70, 12), footer(13)]
    const bytes = concat(frames)
    const whole = scan(bytes)
    for (const capacity of [1, 2, 3]) {
      const offsets: number[] = []
      let at = 0
      let lsn = 10n
      let lastMark = -1
      let last: ReturnType<typeof scanBytes>
      do {
        last = scan(bytes.subarray(at), { firstLsn: lsn, capacity })
        offsets.push(...[...last.offsets].map((offset) => offset + at))
        if (last.lastMark >= 0) lastMark = at + last.lastMark
        if (last.footer >= 0) expect(at + last.footer).toBe(whole.footer)
        at += last.consumed
        lsn = last.nextLsn
      } while (last.stop === WAL_STOP.capacity)
      expect(offsets).toEqual([...whole.offsets])
      expect(lastMark).toBe(whole.lastMark)
      expect({ stop: last.stop, lsn }).toEqual({ stop: WAL_STOP.footer, lsn: 13n })
    }
  })

  it('tells a gap, a repeat and a lower epoch from damage', () => {
    expect(scan(concat([record(9, 10), record(9, 12)]))).toMatchObject({ count: 1, stop: WAL_STOP.sequence })
    expect(scan(concat([record(9, 10), record(9, 10)]))).toMatchObject({ count: 1, stop: WAL_STOP.sequence })
    expect(scan(concat([record(9, 10), record(9, 11, { epoch: 2 })]))).toMatchObject({ count: 1, stop: WAL_STOP.epoch })
    expect(scan(concat([record(9, 10), record(9, 11, { epoch: 4 })]))).toMatchObject({ count: 2, stop: WAL_STOP.end })
    expect(scan(concat([mark(11), record(9, 10)]))).toMatchObject({ count: 0, stop: WAL_STOP.sequence })
  })

  it('compares all 64 bits of epochs and LSNs', () => {
    const high = 2 ** 32
    const frame = (lsn: number, epoch: number): Uint8Array => encodeFrame(noise(20), { kind: 1, flags: 0, local: 0, lsn, epoch }, SEED)
    const stopOf = (lsn: number, epoch: number, o: { firstLsn: bigint; epoch: bigint }): string => walStopName(scan(frame(lsn, epoch), o).stop)
    expect(stopOf(10, high, { firstLsn: 10n, epoch: 5n })).toBe('end')
    expect(stopOf(10, 5, { firstLsn: 10n, epoch: BigInt(high) })).toBe('epoch')
    expect(stopOf(10, 5, { firstLsn: 10n, epoch: (1n << 63n) + 5n })).toBe('epoch')
    expect(stopOf(high + 10, 3, { firstLsn: BigInt(high) + 10n, epoch: 3n })).toBe('end')
    expect(stopOf(high + 10, 3, { firstLsn: 10n, epoch: 3n })).toBe('sequence')
  })

  it('verifies marks and footers, does not emit them, and LSNs run on', () => {
    const frames = [mark(10), record(3, 10), mark(11), record(3, 11), footer(12), record(3, 12)]
    const at = offsetsOf(frames)
    const result = scan(concat(frames))
    expect([...result.offsets]).toEqual([at[1], at[3]])
    expect(result).toMatchObject({ stop: WAL_STOP.footer, lastMark: at[2], footer: at[4], consumed: at[5], nextLsn: 12n })
  })

  it('stops with Padding at an unknown kind, undefined bits and non-zero padding', () => {
    for (const kind of [0, 13, 100, 253]) expect(scan(record(3, 10, { kind })), `kind ${kind}`).toMatchObject({ count: 0, stop: WAL_STOP.padding })
    for (let bit = 2; bit < 8; bit++) expect(scan(record(3, 10, { flags: 1 << bit })).stop).toBe(WAL_STOP.padding)
    for (let bit = 1; bit < 16; bit++) expect(scan(record(3, 10, { local: 1 << bit })).stop).toBe(WAL_STOP.padding)
    for (let n = 1; n < 8; n++) {
      const frame = record(n, 10).slice()
      frame[frame.length - 1] = 1
      expect(scan(frame).stop).toBe(WAL_STOP.padding)
    }
  })

  it('takes 32 zero bytes as the clean end, fewer as Short', () => {
    const first = record(11, 10)
    expect(scan(concat([first, new Uint8Array(32)]))).toMatchObject({ count: 1, stop: WAL_STOP.zeros, consumed: first.length })
    expect(scan(concat([first, new Uint8Array(31)]))).toMatchObject({ count: 1, stop: WAL_STOP.short })
    const nearly = new Uint8Array(32)
    nearly[31] = 1
    expect(scan(nearly)).toMatchObject({ count: 0, stop: WAL_STOP.checksum })
  })

  it('never traps on noise, and never emits from it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), fc.constantFrom(0, 1, 0xffffffff, 64 * 1024 * 1024), (bytes, at, length) => {
        const copy = bytes.slice()
        if (at + 12 <= copy.length) new DataView(copy.buffer).setUint32(at + 8, length, true)
        expect(scan(copy).count).toBe(0)
        expect(resyncBytes(copy, SEED)).toBe(-1)
      }),
      { numRuns: 200 },
    )
  })

  it('scans in place, relative to the address given', () => {
    const k = kernels()
    const m = k.arena.mark()
    const frames = [record(5, 10), record(6, 11)]
    const p = k.copyIn(concat([noise(64), ...frames])) + 64
    const out = k.arena.reserve(64)
    const result = scanInPlace(k, { p, bytes: concat(frames).length, firstLsn: 10n, epoch: 3n, seed: SEED, out, capacity: 16 })
    expect(result.count).toBe(2)
    expect([...k.u32.subarray(out >>> 2, (out >>> 2) + 2)]).toEqual(offsetsOf(frames))
    k.arena.rewind(m)
  })
})

describe('wal_resync', () => {
  it('finds the first verifying frame of any kind at an 8-byte step, and goes on behind it', () => {
    const bytes = concat([noise(40), record(9, 50), noise(8), mark(51), footer(51)])
    const first = resyncBytes(bytes, SEED)
    expect(first).toBe(40)
    const second = resyncBytes(bytes, SEED, first + 8)
    expect(second).toBe(40 + 48 + 8)
    expect(resyncBytes(bytes, SEED, second + 8)).toBe(second + 80)
    expect(resyncBytes(bytes, SEED, second + 88)).toBe(-1)
    expect(resyncBytes(concat([noise(4), record(9, 50)]), SEED)).toBe(-1)
  })

  it('takes a payload of 64 MiB - 32 and none that is longer, whatever its checksum says, as the scan does', () => {
    const most = 64 * 1024 * 1024 - 32
    const k = new KernelInstance({ limitBytes: 70 << 20 })
    const p = k.arena.reserve(most + 64)
    const out = k.arena.reserve(64)
    k.view.setBigUint64(out, SEED, true)
    for (const [length, good] of [
      [most, true],
      [most + 1, false],
    ] as const) {
      const bytes = sealFrame(k, p, length, { kind: 1, flags: 0, local: 0, lsn: 10, epoch: 3 }, out)
      expect(k.exports.wal_resync(p, bytes, out) >>> 0).toBe(good ? 0 : 0xffffffff)
      const { stop } = scanInPlace(k, { p, bytes, firstLsn: 10n, epoch: 3n, seed: SEED, out: out + 8, capacity: 4 })
      expect(walStopName(stop)).toBe(good ? 'end' : 'length')
    }
  })
})
