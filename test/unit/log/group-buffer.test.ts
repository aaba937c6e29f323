// Groups as bytes: what was framed is what the scan kernel verifies, alone, behind a mark, or re-sealed for another segment.
import { describe, expect, it } from 'vitest'

import { FLAG_MORE, frameBytes, KIND_MARK, MARK_BYTES, readFrameHeader, readMarkPayload } from '../../../bindings/format/index.ts'
import type { Digest, LogRecord } from '../../../bindings/log/index.ts'
import { advanceOver } from '../../../bindings/log/chain.ts'
import { forEachFrame, scanFrames, scanKernel, type Window } from '../../../bindings/log/frame-cursor.ts'
import { appendBytes, FRONT_OF, GROUP_BYTES_MAX, GroupBuffer } from '../../../bindings/log/group-buffer.ts'
import { STOP } from '../../../bindings/log/tail.ts'

const FIRST = 2 ** 32 - 3
const EPOCH = 2 ** 32 + 1

function records(...sizes: number[]): LogRecord[] {
  return sizes.map((size, i) => ({ kind: 2, payload: new Uint8Array(size).fill(i + 1) }))
}

function filled(seed: bigint): GroupBuffer {
  const group = GroupBuffer.small()
  group.begin(FIRST, EPOCH, seed)
  group.add(records(5))
  group.add(records(0, 8, 100))
  group.add(records(3))
  return group
}

describe('a group', () => {
  it('verifies whole, with dense LSNs over 2^32, flags of its appends and the bit on its first frame alone', () => {
    const group = filled(11n)
    group.finish(11n, true)
    const bytes = group.view('frames').slice()
    const scan = scanFrames(bytes, FIRST, { epoch: EPOCH, seed: 11n })
    expect(scan).toMatchObject({ stop: STOP.end, consumed: bytes.length, nextLsn: FIRST + 5 })
    expect([...scan.offsets]).toEqual([...group.offsets()])
    const headers = [...scan.offsets].map((at) => readFrameHeader(new DataView(bytes.buffer), at))
    expect(headers.map(({ flags }) => flags)).toEqual([0, FLAG_MORE, FLAG_MORE, 0, 0])
    expect(headers.map(({ local }) => local)).toEqual([1, 0, 0, 0, 0])
    expect(headers.map(({ lsn }) => lsn)).toEqual([0, 1, 2, 3, 4].map((i) => FIRST + i))
    expect(headers.every(({ epoch }) => epoch === EPOCH)).toBe(true)
    expect([group.count, group.bytes, group.last]).toEqual([5, appendBytes(records(5, 0, 8, 100, 3)), FIRST + 4])
  })

  it('is sealed again for the seed of another segment', () => {
    const group = filled(11n)
    group.finish(12n, false)
    expect(scanFrames(group.view('frames').slice(), FIRST, { epoch: EPOCH, seed: 12n }).stop).toBe(STOP.end)
    expect(scanFrames(group.view('frames').slice(), FIRST, { epoch: EPOCH, seed: 11n })).toMatchObject({ stop: STOP.checksum, consumed: 0 })
  })

  it('begins with a mark that carries digest, store and the bit; the record behind it does not', () => {
    const group = filled(11n)
    const [digest, storeId] = [new Uint8Array(32).fill(8), new Uint8Array(16).fill(9)]
    group.finish(11n, true, { digest, storeId })
    const bytes = group.view('mark').slice()
    expect(bytes.length).toBe(group.bytes + FRONT_OF.mark)
    const scan = scanFrames(bytes, FIRST, { epoch: EPOCH, seed: 11n })
    expect(scan).toMatchObject({ stop: STOP.end, nextLsn: FIRST + 5 })
    expect(scan.offsets[0]).toBe(MARK_BYTES)
    const seen: number[][] = []
    forEachFrame({ ...scan, base: 0, bytes, firstLsn: FIRST, final: true } as Window, (_at, kind, _flags, local) => seen.push([kind, local]))
    expect(seen).toEqual([[KIND_MARK, 1], ...Array.from({ length: 5 }, () => [2, 0])])
    expect(readMarkPayload(bytes, 32)).toEqual({ digest, storeId })
  })

  it('advances the chain as the reader of its frames does, whatever its mark, bit and seed', () => {
    const chains: Uint8Array[] = []
    for (const [seed, synced] of [
      [11n, true],
      [12n, false],
    ] as const) {
      const group = filled(11n)
      group.finish(seed, synced)
      const digest = new Uint8Array(32).fill(1)
      group.advance(digest)
      chains.push(digest)
      const before = new Uint8Array(32).fill(1) as Uint8Array as Digest
      expect(advanceOver(scanKernel(), before, group.view('frames').slice(), group.offsets())).toEqual(digest)
    }
    expect(chains[0]).toEqual(chains[1])
  })

  it('knows its bounds', () => {
    const group = GroupBuffer.small()
    group.begin(1, 1, 0n)
    expect(group.fits(group.capacityBytes, 1024)).toBe(true)
    expect(group.fits(group.capacityBytes + 8, 1)).toBe(false)
    expect(group.fits(8, 1025)).toBe(false)
    expect(GroupBuffer.full().capacityBytes).toBe(GROUP_BYTES_MAX)
    const big = records(GROUP_BYTES_MAX)
    const jumbo = GroupBuffer.jumbo(big)
    jumbo.begin(1, 1, 5n)
    jumbo.add(big)
    jumbo.finish(5n, true)
    expect(jumbo.view('frames').length).toBe(frameBytes(GROUP_BYTES_MAX))
    expect(scanFrames(jumbo.view('frames').slice(), 1, { epoch: 1, seed: 5n }).stop).toBe(STOP.end)
  })

  it('is used again after reset', () => {
    const group = filled(11n)
    group.finish(11n, true)
    group.reset()
    group.begin(50, 2, 13n)
    group.add(records(1, 2))
    group.finish(13n, false)
    expect(scanFrames(group.view('frames').slice(), 50, { epoch: 2, seed: 13n })).toMatchObject({ stop: STOP.end, nextLsn: 52 })
  })
})
