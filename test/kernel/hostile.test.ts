// Bytes that lie, at the very end of linear memory: one byte read too far traps. Kernels that take lengths from data say so by a code, write nothing outside
// their outputs, and agree with the oracle where there is one.
import { describe, expect, it } from 'vitest'

import { encodeFrame, encodeInline, KernelInstance, sealFrame } from '../../bindings/kernels/index.ts'
import type { Layout } from '../../bindings/kernels/index.ts'
import { concat, noise } from './bytes.ts'
import { oracleLz4Decode, type Sequence, writeLz4 } from './oracles/lz4.ts'
import { randomOf, rowsFor, vecOf } from './vec-model.ts'

const FIXED = 12 << 20
const k = new KernelInstance({ fixedBytes: FIXED })
const x = k.exports
const end = k.memory.buffer.byteLength
const base = x.arena_base()
const memory = Buffer.from(k.memory.buffer)

/** Puts bytes where memory ends, `padding` bytes before it. */
function atEnd(bytes: Uint8Array, padding = 0): number {
  const at = end - bytes.length - padding
  memory.fill(0xff, end - padding)
  memory.set(bytes, at)
  return at
}

const CANARY = 64

/** Runs with an output of `cap` bytes between canaries; throws when one of them was touched. */
function guarded<T>(at: number, cap: number, run: (at: number) => T): T {
  memory.fill(0xc9, at - CANARY, at)
  memory.fill(0xc9, at + cap, Math.min(end, at + cap + CANARY))
  const result = run(at)
  for (let i = 1; i <= CANARY; i++) {
    if (memory[at - i] !== 0xc9) throw new Error(`${i} bytes before the output were written`)
    if (at + cap + i - 1 < end && memory[at + cap + i - 1] !== 0xc9) throw new Error(`${i} bytes behind the output were written`)
  }
  return result
}

const SEED = 77n
const seedAt = base + 256

/** Every way to lie with a u32: extremes, and near what is right. */
const lies = (right: number): number[] => [
  0,
  1,
  right - 1,
  right + 1,
  right + 8,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffd8,
  0xffff_ffe0,
  0xffff_fff8,
  0xffff_ffff,
  64 << 20,
  (64 << 20) - 32,
]

describe('records of a log', () => {
  const resultAt = base + 512
  const outAt = base + 1024
  const frames = [0, 1, 7, 8, 64, 300].map((bytes, i) => encodeFrame(noise(bytes, i + 1), { kind: 1 + i, flags: 0, local: 1, lsn: i, epoch: 1 }, SEED))
  const log = concat(frames)
  const offsets = frames.map((_, i) => frames.slice(0, i).reduce((sum, frame) => sum + frame.length, 0))

  function scan(bytes: Uint8Array): { count: number; stop: number; consumed: number; resync: number } {
    k.view.setBigUint64(seedAt, SEED, true)
    const p = atEnd(bytes)
    const count = guarded(outAt, 40, (out) => guarded(resultAt, 24, (result) => x.wal_scan(p, bytes.length, 0n, 1n, seedAt, out, 10, result)))
    return {
      count,
      consumed: k.view.getUint32(resultAt, true),
      stop: k.view.getUint32(resultAt + 4, true),
      resync: x.wal_resync(p, bytes.length, seedAt) >>> 0,
    }
  }

  it('at every cut', () => {
    for (let cut = 0; cut <= log.length; cut++) {
      const whole = offsets.filter((offset, i) => offset + frames[i]!.length <= cut).length
      const found = scan(log.subarray(0, cut))
      expect(found).toMatchObject({ count: whole, consumed: whole < frames.length ? offsets[whole] : log.length })
      expect(found.stop).toBe(offsets[whole] === cut || cut === log.length ? 0 : 3)
    }
  })

  it('with every length that a frame can claim', () => {
    for (const [i, offset] of offsets.entries()) {
      for (const length of lies(frames[i]!.length - 32)) {
        const bytes = log.slice()
        new DataView(bytes.buffer).setUint32(offset + 8, length, true)
        if (bytes.every((byte, at) => byte === log[at])) continue
        const { count, stop, resync } = scan(bytes)
        expect(count).toBe(i)
        // Length, Short or Checksum; frame 0 has no payload, but its other fields are not zero.
        expect([3, 4, 5]).toContain(stop)
        expect(resync).toBe(i === 0 ? offsets[1] : 0)
      }
    }
  })

  it('with any byte set to anything', () => {
    for (let at = 0; at < log.length; at++) {
      for (const value of [0, 255, log[at]! ^ 1, log[at]! ^ 128]) {
        if (value === log[at]) continue
        const bytes = log.slice()
        bytes[at] = value
        expect(scan(bytes).count).toBe(offsets.filter((offset, i) => offset + frames[i]!.length <= at).length)
      }
    }
  })

  it('with frames that verify and lie: every kind, and undefined bits', () => {
    for (let kind = 0; kind < 256; kind++) {
      const at = base + 4096
      k.view.setBigUint64(seedAt, SEED, true)
      const length = sealFrame(k, at, 0, { kind, flags: kind & 7, local: kind & 3, lsn: 0, epoch: 1 }, seedAt)
      const { count, stop } = scan(memory.subarray(at, at + length))
      const known = (kind >= 1 && kind <= 12) || kind >= 254
      const bad = !known || (kind & 4) !== 0 || (kind & 2) !== 0
      expect(stop, `kind ${kind}`).toBe(bad ? 8 : kind === 255 ? 9 : 0)
      expect(count, `kind ${kind}`).toBe(!bad && kind <= 12 ? 1 : 0)
    }
  })
})

describe('LZ4 blocks', () => {
  const dst = base + 8192

  /** Input and output both at an edge: the input before memory ends (with its padding), the output between canaries; then the other way round. */
  function decode(block: Uint8Array, cap: number, history = 0): number {
    const src = atEnd(block, 15)
    const first = guarded(dst, cap + history, (at) => x.lz4_block_decode(src, block.length, at + history, cap, at))
    const out = k.copyOut(dst + history, Math.max(0, first))
    memory.set(block, dst)
    const high = end - cap
    const second = guarded(high, cap, (at) => x.lz4_block_decode(dst, block.length, at, cap, at - history))
    expect(second < 0).toBe(first < 0)
    const oracle = oracleLz4Decode(block)
    if (history === 0 && oracle !== undefined && oracle.length <= cap) expect(out).toEqual(oracle)
    if (history === 0 && oracle === undefined) expect(first).toBeLessThan(0)
    return first
  }

  const text = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => 97 + (i % 7))
  const sequences: Sequence[] = [
    { literals: text(20), match: { distance: 20, length: 300 } },
    { literals: text(3), match: { distance: 1, length: 40 } },
    { literals: text(0), match: { distance: 300, length: 280 } },
    { literals: text(16), match: { distance: 17, length: 18 } },
    { literals: text(270) },
  ]
  const block = writeLz4(sequences)
  const size = oracleLz4Decode(block)!.length

  it('cut at every byte, with room of every size around the right one', () => {
    for (let cut = 0; cut < block.length; cut++) {
      const short = block.subarray(0, cut)
      expect(decode(short, size)).toBe(oracleLz4Decode(short)?.length ?? -1)
    }
    for (let cap = 0; cap < size + 40; cap += cap < size - 20 ? 13 : 1) expect(decode(block, cap)).toBe(cap < size ? -2 : size)
  })

  it('with any byte set to anything', () => {
    for (let at = 0; at < block.length; at += at < 40 ? 1 : 7) {
      for (let value = 0; value < 256; value += 5) {
        const bytes = block.slice()
        bytes[at] = value
        const length = decode(bytes, size + 100)
        expect(length >= -2 && length <= size + 100).toBe(true)
      }
    }
  })

  it('of noise', () => {
    for (let seed = 1; seed < 1500; seed++) {
      const bytes = noise(seed % 90, seed)
      const length = decode(bytes, seed % 300, seed % 3 === 0 ? 40 : 0)
      expect(length >= -2 && length <= seed % 300).toBe(true)
    }
  })

  it('with distance 0, and distances before the history', () => {
    const match = (distance: number): Uint8Array => Uint8Array.from([0x44, 97, 98, 99, 100, distance & 255, distance >> 8, 0x10, 97])
    for (const [distance, history, expected] of [
      [0, 0, -1],
      [4, 0, 13],
      [5, 0, -1],
      [5, 1, 13],
      [65_535, 1, -1],
      [44, 40, 13],
      [45, 40, -1],
    ] as const) {
      expect(decode(match(distance), 100, history), `distance ${distance}, history ${history}`).toBe(expected)
    }
  })

  it('that claim more than 2 GiB, by literals or by a match, or far more than they have room for', () => {
    const chain = 9 << 20
    for (const head of [[0xf0], [0x1f, 97, 1, 0]]) {
      for (const tail of [255, 0]) {
        const src = base + 64
        memory.set(head, src)
        memory.fill(255, src + head.length, src + head.length + chain)
        memory[src + head.length + chain] = tail
        const n = head.length + chain + 1
        expect(guarded(end - 100, 100, (at) => x.lz4_block_decode(src, n, at, 100, at))).toBe(-1)
        // A shorter chain is below 2 GiB: literals that are not there, or a match that has no room.
        expect(guarded(end - 100, 100, (at) => x.lz4_block_decode(src, head.length + 1000, at, 100, at))).toBe(-1)
        memory[src + head.length + 1000] = 7
        expect(guarded(end - 100, 100, (at) => x.lz4_block_decode(src, head.length + 1001, at, 100, at))).toBe(head.length === 1 ? -1 : -2)
        memory[src + head.length + 1000] = 255
      }
    }
  })
})

describe('inline bodies', () => {
  const layouts: Layout[] = [
    { kind: 'fixed', width: 4 },
    { kind: 'var' },
    { kind: 'bool' },
    { kind: 'list', item: { kind: 'var' } },
    { kind: 'fsl', size: 3, item: { kind: 'fixed', width: 8 } },
  ]
  // kind, size, parent of each node in preorder
  const nodes = [
    [0, 4, -1],
    [2, 0, -1],
    [1, 0, -1],
    [3, 0, -1],
    [2, 0, 3],
    [5, 3, -1],
    [0, 8, 5],
  ]
  const nodesAt = base + 4096
  const startsAt = base + 1024
  const body = encodeInline(
    layouts.map((layout, c) => vecOf(layout, rowsFor(layout, 30, 0.2, randomOf(c + 3)), c)),
    0,
    30,
  )

  function measure(bytes: Uint8Array, start: number, stop: number | undefined, count: number): number {
    // Bitmaps are counted by words of 8 bytes.
    const at = atEnd(bytes, 7)
    k.u32.set([start, stop ?? 0, count], startsAt >>> 2)
    return guarded(nodesAt, nodes.length * 64, () => {
      k.u8.fill(0, nodesAt, nodesAt + nodes.length * 64)
      for (const [i, node] of nodes.entries()) k.i32.set(node, (nodesAt + i * 64) >>> 2)
      return x.inline_measure(at, bytes.length, startsAt, stop === undefined ? 0 : startsAt + 4, startsAt + 8, 1, nodesAt, nodes.length)
    })
  }

  it('that are good are measured', () => {
    expect(measure(body, 0, body.length, 30)).toBe(1)
    expect(measure(concat([Uint8Array.of(1, 2), body]), 2, undefined, 30)).toBe(1)
  })

  it('whose start, end or count lies', () => {
    for (const lie of lies(body.length)) {
      if (lie !== body.length) expect(measure(body, 0, lie, 30), `end ${lie}`).toBe(0)
      if (lie !== 0) expect(measure(body, lie, body.length, 30), `start ${lie}`).toBe(0)
      if (lie !== 0) expect(measure(body, lie, undefined, 30), `start ${lie}, no end`).toBe(0)
    }
    for (const lie of lies(30)) if (lie !== 30) expect(measure(body, 0, body.length, lie), `${lie} rows`).toBe(0)
  })

  it('cut at every byte, and with any byte set to anything', () => {
    for (let cut = 0; cut < body.length; cut++) {
      expect(measure(body.subarray(0, cut), 0, cut, 30), `cut at ${cut}`).toBe(0)
      expect(measure(body.subarray(0, cut), 0, undefined, 30), `cut at ${cut}, no end`).toBe(0)
    }
    for (let at = 0; at < body.length; at++) {
      for (let value = 0; value < 256; value += 17) {
        const bytes = body.slice()
        bytes[at] = value
        expect([0, 1]).toContain(measure(bytes, 0, body.length, 30))
      }
    }
  })
})

describe('codes and indices', () => {
  const outAt = base + 65_536

  it('outside the dictionary, or outside the column, reach no byte behind it', () => {
    for (const width of [1, 2, 4]) {
      for (const code of [3, 200, 2 ** (8 * width) - 1]) {
        const codes = base + 4096
        memory.fill(0, codes, codes + 64)
        memory.writeUIntLE(code, codes, width)
        // Three entries, where memory ends.
        const map = atEnd(new Uint8Array(Uint32Array.of(7, 8, 9).buffer))
        guarded(outAt, 4, (out) => x.codes_remap(codes, width, 1, map, 3, 4, out))
        expect(k.u32[outAt >>> 2]).toBe(0)
        guarded(outAt, 8, (out) => x.sort_keys_codes(codes, width, 1, map, 3, 0, out))
        expect(k.view.getBigUint64(outAt, true)).toBe(0n)
        expect(guarded(outAt, 4, (out) => x.codes_to_indices(codes, width, 0, 1, 3, out))).toBe(0)
        k.u8[outAt] = 0
        guarded(outAt, 1, (out) => x.codes_used(codes, width, 0, 1, 3, out))
        expect(k.u8[outAt]).toBe(0)
        const bits = atEnd(new Uint8Array(32).fill(7, 0, 1))
        guarded(outAt, 2, (out) => x.codes_to_bits(codes, width, 1, bits, 3, out))
        expect(k.u8[outAt]).toBe(0)
      }
    }
  })

  it('are found before anything is gathered by them', () => {
    for (const n of [1, 4, 5, 9]) {
      for (let at = 0; at < n; at++) {
        for (const wrong of [10, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe]) {
          const list = atEnd(new Uint8Array(Uint32Array.from({ length: n }, (_, i) => (i === at ? wrong : i)).buffer))
          expect(guarded(outAt, 4, (out) => x.indices_check(list, n, 10, out))).toBe(-1)
        }
      }
    }
  })
})
