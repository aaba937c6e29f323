// proof/log-lz4.ts: cases of wal-scan.ts and lz4-block.ts.
import { oracleLz4Decode, type Sequence, writeLz4 } from '../oracles/lz4.ts'
import { oracleXxh3 } from '../oracles/xxh3.ts'
import { bytesOf, type Proofs, type Random, u32s, u64s } from './harness.ts'
import type { Case } from './harness.ts'

const SEED = 0x0123_4567_89ab_cdefn
const NONE = 0xffff_ffff
const NOTHING = new Uint8Array(0)
const END = 0
const STOPS = { capacity: 1, zeros: 2, short: 3, length: 4, checksum: 5, sequence: 6, epoch: 7, padding: 8, footer: 9 } as const

interface FrameFields {
  readonly payload: Uint8Array
  readonly kind?: number
  readonly lsn?: bigint
  readonly epoch?: bigint
  readonly flags?: number
  readonly local?: number
  readonly pad?: number
}

/** A frame by kernels.md section 4. */
function frame({ payload, kind = 1, lsn = 100n, epoch = 3n, flags = 0, local = 1, pad = 0 }: FrameFields): Uint8Array {
  const out = new Uint8Array((32 + payload.length + 7) & ~7).fill(pad, 32 + payload.length)
  const view = new DataView(out.buffer)
  view.setUint32(8, payload.length, true)
  out[12] = kind
  out[13] = flags
  view.setUint16(14, local, true)
  view.setBigUint64(16, lsn, true)
  view.setBigUint64(24, epoch, true)
  out.set(payload, 32)
  view.setBigUint64(0, oracleXxh3(out.subarray(8, 32 + payload.length), SEED), true)
  return out
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

const exact = (bytes: Uint8Array): { bytes: Uint8Array; readable: number } => ({ bytes, readable: bytes.length })

/** Log bytes and what a scan must say. */
function scanCase(
  parts: readonly Uint8Array[],
  emitted: number,
  stop: number,
  o: { cap?: number; consumed?: number; mark?: number; footer?: number } = {},
): Case {
  const bytes = join(parts)
  const offsets: number[] = []
  let at = 0
  for (const part of parts) {
    if ((part[12] ?? 99) <= 12 && offsets.length < emitted) offsets.push(at)
    at += part.length
  }
  const cap = o.cap ?? 100
  const result = new Uint8Array(24)
  const view = new DataView(result.buffer)
  view.setUint32(0, o.consumed ?? bytes.length, true)
  view.setUint32(4, stop, true)
  view.setBigUint64(8, 100n + BigInt(emitted), true)
  view.setUint32(16, o.mark ?? NONE, true)
  view.setUint32(20, o.footer ?? NONE, true)
  const call: Case['call'] = (x, to) => x.wal_scan(to[0]!, bytes.length, 100n, 3n, to[1]!, to[2]!, cap, to[3]!)
  return { inputs: [exact(bytes), exact(u64s([SEED]))], outputs: [{ expected: u32s(offsets) }, { expected: result }], call, result: emitted }
}

/** Sequences of about n bytes: runs, repeats near and far, long lengths. */
function sequencesOf(n: number, random: Random, history: number): Sequence[] {
  const list: Sequence[] = []
  let made = history
  while (made - history < n) {
    const literals = bytesOf(random, random.chance(0.2) ? random.below(80) : random.below(20))
    made += literals.length
    if (made === 0) continue
    const distance = 1 + random.below(random.chance(0.6) ? Math.min(made, 40) : made)
    const length = 4 + (random.chance(0.1) ? random.below(700) : random.below(40))
    list.push({ literals, match: { distance, length } })
    made += length
  }
  list.push({ literals: bytesOf(random, random.below(30)) })
  return list
}

export const LOG_LZ4: Proofs = {
  *wal_scan(n, random) {
    const good = (i: number, o: Partial<FrameFields> = {}): Uint8Array => frame({ payload: bytesOf(random, i === 1 ? n : i * 3), lsn: 100n + BigInt(i), ...o })
    const first = good(0)
    const second = good(1)
    const both = first.length + second.length
    yield scanCase([first, second, good(2)], 3, END)
    yield scanCase([first, second, good(2)], 2, STOPS.capacity, { cap: 2, consumed: both })
    yield scanCase([first, second, new Uint8Array(32 + (n & 31))], 2, STOPS.zeros, { consumed: both })
    // A scan at the end of a file: cut anywhere in the second record.
    const cut = 1 + random.below(second.length - 1)
    yield scanCase([first, second.subarray(0, cut)], 1, STOPS.short, { consumed: first.length })
    const flipped = second.slice()
    const bit = random.below(second.length * 8)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    // A flipped length may pass the end or the bound; anything else is a checksum, or padding behind a good one.
    const at = bit >> 3
    const length = new DataView(flipped.buffer).getUint32(8, true)
    const total = (32 + length + 7) & ~7
    const lies = length > 64 * 1024 * 1024 - 32 ? STOPS.length : total > second.length ? STOPS.short : STOPS.checksum
    yield scanCase([first, flipped], 1, at >= 8 && at < 12 ? lies : at >= 32 + n ? STOPS.padding : STOPS.checksum, { consumed: first.length })
    yield scanCase([first, good(1, { lsn: 102n })], 1, STOPS.sequence, { consumed: first.length })
    yield scanCase([first, good(1, { epoch: 2n })], 1, STOPS.epoch, { consumed: first.length })
    yield scanCase([first, good(1, { kind: [0, 13, 253][n % 3]! })], 1, STOPS.padding, { consumed: first.length })
    yield scanCase([first, good(1, { flags: 4 })], 1, STOPS.padding, { consumed: first.length })
    if ((n & 7) !== 0) yield scanCase([first, good(1, { pad: 1 })], 1, STOPS.padding, { consumed: first.length })
    const mark = frame({ payload: bytesOf(random, n), kind: 254, lsn: 101n })
    const footer = frame({ payload: bytesOf(random, n), kind: 255, lsn: 102n })
    const [markAt, footerAt] = [first.length, both + mark.length]
    yield scanCase([first, mark, second, footer, good(2)], 2, STOPS.footer, { mark: markAt, footer: footerAt, consumed: footerAt + footer.length })
  },
  *wal_resync(n, random) {
    const found = frame({ payload: bytesOf(random, n), kind: [1, 12, 254, 255][n & 3]! })
    const junk = bytesOf(random, 8 * random.below(20))
    const lying = frame({ payload: NOTHING })
    new DataView(lying.buffer).setUint32(8, [n + 33, 0xffff_ffff, 64 * 1024 * 1024][n % 3]!, true)
    const broken = found.slice()
    broken[broken.length - 1 - (-n & 7)]! ^= 1
    for (const [parts, result] of [
      [[junk, lying, broken, found], junk.length + lying.length + broken.length],
      [[junk, lying, broken], NONE],
      [[found.subarray(0, found.length - 8)], NONE],
      [[frame({ payload: bytesOf(random, n), flags: 8 }), frame({ payload: bytesOf(random, n), kind: 99 })], NONE],
      [[n & 7 ? frame({ payload: bytesOf(random, n), pad: 9 }) : NOTHING, found], n & 7 ? found.length : 0],
      [[bytesOf(random, n)], NONE],
    ] as const) {
      const bytes = join(parts)
      yield { inputs: [exact(bytes), exact(u64s([SEED]))], outputs: [], call: (x, at) => x.wal_resync(at[0]!, bytes.length, at[1]!), result }
    }
  },
  *frame_seal(n, random) {
    const payload = bytesOf(random, n)
    const expected = frame({ payload, kind: 5, flags: 3, local: 1, lsn: 0x1_0000_0007n, epoch: 0x2_0000_0003n })
    const before = bytesOf(random, expected.length)
    before.set(payload, 32)
    const call: Case['call'] = (x, at) => x.frame_seal(at[1]!, n, 5, 3, 1, 7, 1, 3, 2, at[0]!)
    yield { inputs: [exact(u64s([SEED]))], outputs: [{ before, expected }], call, result: expected.length }
  },
  *frame_write(n, random) {
    const payload = bytesOf(random, n)
    const expected = frame({ payload, kind: 5, flags: 3, local: 1, lsn: 0x1_0000_0007n, epoch: 0x2_0000_0003n })
    const call: Case['call'] = (x, at) => x.frame_write(at[2]!, at[0]!, n, 5, 3, 1, 7, 1, 3, 2, at[1]!)
    yield { inputs: [exact(payload), exact(u64s([SEED]))], outputs: [{ expected }], call, result: expected.length }
  },

  *lz4_block_decode(n, random) {
    for (const history of [0, 1, 300]) {
      const before = bytesOf(random, history)
      const block = writeLz4(sequencesOf(n, random, history))
      const decoded = oracleLz4Decode(block, before)!
      for (const spare of [0, 5, 64]) {
        const call: Case['call'] = (x, at) => x.lz4_block_decode(at[0]!, block.length, at[1]! + history, decoded.length + spare, at[1]!)
        yield { inputs: [block], outputs: [{ before, expected: join([before, decoded]), slack: spare }], call, result: decoded.length }
      }
      // Less room than it needs, and cut anywhere: a code, and nothing outside the room.
      const room = random.below(decoded.length || 1)
      if (decoded.length > 0) {
        const call: Case['call'] = (x, at) => x.lz4_block_decode(at[0]!, block.length, at[1]! + history, room, at[1]!)
        yield { inputs: [block], outputs: [{ before, expected: before, slack: room }], call, result: -2 }
      }
      const cut = block.subarray(0, random.below(block.length))
      const rest = oracleLz4Decode(cut, before)
      const call: Case['call'] = (x, at) => x.lz4_block_decode(at[0]!, cut.length, at[1]! + history, decoded.length, at[1]!)
      yield { inputs: [cut], outputs: [{ before, expected: before, slack: decoded.length }], call, result: rest === undefined ? -1 : rest.length }
    }
  },
  *lz4_block_encode(n, random) {
    for (const shape of ['noise', 'period', 'runs', 'cut']) {
      const period = 1 + random.below(20)
      const src =
        shape === 'noise' ? bytesOf(random, n) : Uint8Array.from({ length: n }, (_, i) => (shape === 'runs' && random.chance(0.1) ? random.u32() : i % period))
      const cap = shape === 'cut' ? n >> 1 : n + 16
      let length = 0
      const check: Case['check'] = (memory, at) => {
        if (length === -2 && shape === 'cut') return
        const block = new Uint8Array(memory.buffer.slice(at[1]!, at[1]! + length))
        if (length < 0 || Buffer.compare(oracleLz4Decode(block) ?? Uint8Array.of(1, 2, 3), src) !== 0)
          throw new Error(`lz4_block_encode n=${n} ${shape}: ${length} bytes that do not decode to the input`)
      }
      yield { inputs: [src], outputs: [{ expected: NOTHING, slack: cap }], call: (x, at) => void (length = x.lz4_block_encode(at[0]!, n, at[1]!, cap)), check }
    }
  },
}
