// bench/kernels.bench.ts: single kernels beside what a JavaScript program would use instead: node:crypto, node:zlib, a Set, a plain loop, another LZ4.
//
// Inputs lie on the JavaScript heap and results come back there: the copies into and out of kernel memory are part of every figure. Seeded inputs, results checked.
import { createHash } from 'node:crypto'
import { crc32, deflateRawSync } from 'node:zlib'

import {
  BloomFilter,
  compareConst,
  encodeFrame,
  filter,
  lz4FrameDecode,
  lz4FrameEncode,
  makeVec,
  popcount,
  scanBytes,
  type Vec,
  xxh3Column,
  xxh3Into,
} from '../bindings/kernels/index.ts'
import { lz4Wasm } from '../test/kernel/oracles/lz4-wasm.ts'
import { contest, type Turn, verify } from './contest.ts'
import { randomOf, sample } from './data.ts'
import type { Suite } from './suite.ts'

const MIB = 1024 * 1024
const SEED = 0x1234_5678n

export const PARTS: Readonly<Record<string, (suite: Suite) => Promise<void>>> = { xxh3: hashing, 'wal-scan': walScan, bloom, filter: filtering, lz4 }

/** A block of 64 KiB over and over. */
async function hashing(suite: Suite): Promise<void> {
  const block = noise(64 * 1024, 1)
  const out = new Uint32Array(2)
  await race(suite, 'xxh3', 'MB/s', block.length / MIB, {
    varve: () => xxh3Into(block, out, 0),
    'crypto-sha256': () => createHash('sha256').update(block).digest(),
    'crypto-sha1': () => createHash('sha1').update(block).digest(),
    'zlib-crc32': () => crc32(block),
  })
}

/** A segment of 16 MiB with frames of one-row commits: checksum and order of every frame. */
async function walScan(suite: Suite): Promise<void> {
  const payload = noise(72, 2)
  const frames: Uint8Array[] = []
  for (let lsn = 1, bytes = 0; bytes < 16 * MIB; lsn++) {
    frames.push(encodeFrame(payload, { kind: 1, flags: 0, local: 0, lsn, epoch: 1 }, SEED))
    bytes += frames.at(-1)!.length
  }
  const segment = new Uint8Array(Buffer.concat(frames))
  const view = new DataView(segment.buffer)
  await race(suite, 'wal-scan', 'frames/s', frames.length, {
    varve: () => verify(scanBytes(segment, { firstLsn: 1n, epoch: 1n, seed: SEED }).count === frames.length, 'frames found'),
    'js-crc32': () => {
      let count = 0
      let sum = 0
      for (let at = 0; at < segment.length; count++) {
        const length = view.getUint32(at + 8, true)
        sum ^= crc32(segment.subarray(at + 8, at + 32 + length))
        if (view.getUint32(at + 16, true) !== count + 1) break
        at += (32 + length + 7) & ~7
      }
      verify(count === frames.length && Number.isInteger(sum), 'frames found in JavaScript')
    },
  })
}

/** A million keys built in, a million asked for. */
async function bloom(suite: Suite): Promise<void> {
  const keys = 1_000_000
  const present = int64s(keys, 3)
  const asked = int64s(keys, 4)
  const hashes = xxh3Column(present, 'i64')
  const probes = xxh3Column(asked, 'i64')
  const built = BloomFilter.build(hashes)
  const numbers = new BigInt64Array(present.values.buffer, present.values.byteOffset, keys)
  const questions = new BigInt64Array(asked.values.buffer, asked.values.byteOffset, keys)
  const set = new Set(numbers)
  verify(built.probeMany(hashes).hits === keys, 'every key is found')
  await race(suite, 'bloom-build', 'keys/s', keys, { varve: () => BloomFilter.build(xxh3Column(present, 'i64')), 'js-set': () => new Set(numbers) })
  await race(suite, 'bloom-probe', 'keys/s', keys, {
    varve: () => built.probeMany(probes),
    'js-set': () => {
      let hits = 0
      for (let i = 0; i < keys; i++) if (set.has(questions[i]!)) hits++
      return hits
    },
  })
}

/** delay >= 30 over the sample, then the selected rows of distance. */
async function filtering(suite: Suite): Promise<void> {
  const data = await sample(200_000)
  const delay = vecOf(data.delay)
  const distance = vecOf(data.distance)
  const selection = compareConst(delay, 'i16', 'ge', 30)
  const selected = popcount(selection, data.rows)
  verify(selected === data.delay.filter((each) => each >= 30).length, 'rows selected')
  await race(suite, 'predicate', 'rows/s', data.rows, {
    varve: () => compareConst(delay, 'i16', 'ge', 30),
    js: () => {
      const bits = new Uint8Array(Math.ceil(data.rows / 8))
      for (let i = 0; i < data.rows; i++) if (data.delay[i]! >= 30) bits[i >>> 3]! |= 1 << (i & 7)
      return bits
    },
  })
  await race(suite, 'filter', 'rows/s', data.rows, {
    varve: () => verify(filter(distance, selection, selected).length === selected, 'rows taken'),
    js: () => {
      const out = new Int16Array(selected)
      let n = 0
      for (let i = 0; i < data.rows; i++) if ((selection[i >>> 3]! >>> (i & 7)) & 1) out[n++] = data.distance[i]!
      verify(n === selected, 'rows taken in JavaScript')
      return out
    },
  })
}

/** Two columns of the flights: distances as int16, times as int64. */
async function lz4(suite: Suite): Promise<void> {
  const data = await sample(200_000)
  const times = BigInt64Array.from(data.date, BigInt)
  const bytes = new Uint8Array(Buffer.concat([Buffer.from(data.distance.buffer), Buffer.from(times.buffer)]))
  const packed = lz4FrameEncode(bytes)
  const peer = await lz4Wasm()
  const other = peer.encodeBlock(bytes)
  verify(Buffer.compare(lz4FrameDecode(packed, bytes.length), bytes) === 0, 'LZ4 round trip')
  suite.fact('lz4.ratio', { varve: (bytes.length / packed.length).toFixed(2), 'lz4-wasm': (bytes.length / other.length).toFixed(2) })
  await race(suite, 'lz4-encode', 'MB/s', bytes.length / MIB, {
    varve: () => lz4FrameEncode(bytes),
    'lz4-wasm': () => peer.encodeBlock(bytes),
    'zlib-deflate-1': () => deflateRawSync(bytes, { level: 1 }),
  })
  await race(suite, 'lz4-decode', 'MB/s', bytes.length / MIB, {
    varve: () => lz4FrameDecode(packed, bytes.length),
    'lz4-wasm': () => peer.decodeBlock(other, bytes.length),
  })
}

/** Every contender repeats its call for a part of the turn; `amount` is what one call works on. The first call is reported apart: it runs in the baseline tier. */
async function race(suite: Suite, name: string, unit: string, amount: number, calls: Readonly<Record<string, () => unknown>>): Promise<void> {
  const first = performance.now()
  calls['varve']!()
  suite.fact(`${name}.first-call`, `${((performance.now() - first) * 1000).toFixed(0)} µs`)
  const ms = suite.sizes.turnMs / 4
  for (const call of Object.values(calls)) await repeat(call, amount, ms / 2)
  suite.add(
    await contest(
      name,
      unit,
      suite.sizes.rounds,
      Object.entries(calls).map(([who, call]) => ({ name: who, turn: () => repeat(call, amount, ms) })),
    ),
  )
}

async function repeat(call: () => unknown, amount: number, ms: number): Promise<Turn> {
  const started = performance.now()
  for (let n = 1; ; n++) {
    call()
    const spent = performance.now() - started
    if (spent >= ms) return { ms: spent, operations: n * amount }
  }
}

function vecOf(values: Int16Array): Vec {
  return makeVec({ kind: 'fixed', width: 2 }, values.length, { values: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) })
}

function int64s(n: number, seed: number): Vec {
  return makeVec({ kind: 'fixed', width: 8 }, n, { values: noise(8 * n, seed) })
}

function noise(bytes: number, seed: number): Uint8Array {
  const random = randomOf(seed)
  const words = Uint32Array.from({ length: Math.ceil(bytes / 4) }, random)
  return new Uint8Array(words.buffer, 0, bytes)
}
