// bench/kernels/bloom.ts: the split-block filter: probing 64 Ki hashes against 128 KiB of blocks, building and asking for a million keys.
//
// Peers: the same layout in plain JavaScript, the package bloomfilter (string keys; varve's are hashes in the first race, strings that it hashes in the second), a Set.
import { BloomFilter, kernels, makeVec, popcount, type Vec, xxh3Column } from '../../bindings/kernels/index.ts'
import { entrant, type Entrant, KIB, type KernelSuite, noise, race } from './suite.ts'

interface BloomfilterPackage {
  BloomFilter: new (bits: number, hashes: number) => { add(key: string): void; test(key: string): boolean }
}

const FILTER_BYTES = 128 * KIB
const BLOCKS = FILTER_BYTES / 32
const PROBES = 65_536
const TARGETS = { js: 2, bloomfilter: 6 }
/** As many keys as fill the filter to 16 bits each. */
const KEYS = (FILTER_BYTES * 8) / 16
const SALTS = [0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31].map((salt) => salt | 0)

/** 64 Ki keys in, 64 Ki asked for, half of which are there. */
interface Texts {
  readonly present: readonly string[]
  readonly asked: readonly string[]
  /** The package's filter with the keys in it, of as many bits. */
  readonly peer: { test(key: string): boolean } | undefined
}

export async function bloom(suite: KernelSuite): Promise<void> {
  const other = (await suite.peer('bloomfilter')) as BloomfilterPackage | undefined
  const all = Array.from({ length: 2 * PROBES }, (_, i) => `key-${i}`)
  const present = all.slice(0, PROBES)
  const peer = other && new other.BloomFilter(FILTER_BYTES * 8, 8)
  if (peer !== undefined) for (const text of present) peer.add(text)
  const texts: Texts = { present, asked: Array.from({ length: PROBES }, (_, i) => all[i % 2 === 0 ? i : PROBES + i]!), peer }
  await probing(suite, texts)
  await stringKeys(suite, texts)
  await million(suite)
}

/** Half of the hashes are in the filter. */
async function probing(suite: KernelSuite, texts: Texts): Promise<void> {
  const k = kernels()
  const inserted = words(2 * KEYS, 3)
  const asked = Uint32Array.from(words(2 * PROBES, 4))
  asked.set(inserted.subarray(0, PROBES))
  const filter = BloomFilter.buildWithBlocks(inserted, BLOCKS)
  const blocks = new Uint32Array(filter.bytes.buffer, filter.bytes.byteOffset, BLOCKS * 8)
  const hits = probeWords(blocks, asked).hits
  const f = suite.place(filter.bytes)
  const hashes = suite.place(new Uint8Array(asked.buffer))
  const out = suite.room(PROBES / 8)
  await race(suite, {
    name: 'bloom.probe-64Ki-of-128KiB',
    unit: 'hashes/s',
    amount: PROBES,
    ours: {
      'in-memory': entrant(
        () => k.exports.sbbf_probe(f, BLOCKS, hashes, PROBES, out),
        (found) => found === hits && popcount(k.u8.slice(out, out + PROBES / 8), PROBES) === hits,
      ),
      'with-copies': entrant(
        () => filter.probeMany(asked),
        (found) => found.hits === hits,
      ),
    },
    peers: {
      js: entrant(
        () => probeWords(blocks, asked),
        (found) => found.hits === hits,
      ),
      bloomfilter: askPeer(texts),
    },
    targets: { 'in-memory': TARGETS, 'with-copies': TARGETS },
  })
}

/** The keys are strings for the package; varve hashes the same keys as an utf8 column, which is part of the turn. */
async function stringKeys(suite: KernelSuite, texts: Texts): Promise<void> {
  const k = kernels()
  const present = utf8(texts.present)
  const asked = utf8(texts.asked)
  const filter = BloomFilter.buildWithBlocks(xxh3Column(present, 'bytes'), BLOCKS)
  const hits = filter.probeMany(xxh3Column(asked, 'bytes')).hits
  const f = suite.place(filter.bytes)
  const offsets = suite.place(new Uint8Array(asked.offsets!.buffer))
  const data = suite.place(asked.values)
  const hashes = suite.room(8 * PROBES)
  const out = suite.room(PROBES / 8)
  await race(suite, {
    name: 'bloom.hash-and-probe-64Ki-strings',
    unit: 'keys/s',
    amount: PROBES,
    ours: {
      'in-memory': entrant(
        () => {
          k.exports.xxh3_var(offsets, data, PROBES, hashes)
          return k.exports.sbbf_probe(f, BLOCKS, hashes, PROBES, out)
        },
        (found) => found === hits && isPlausible(found),
      ),
      'with-copies': entrant(
        () => filter.probeMany(xxh3Column(asked, 'bytes')).hits,
        (found) => found === hits,
      ),
    },
    peers: {
      bloomfilter: askPeer(texts),
    },
  })
}

function askPeer({ asked, peer }: Texts): Entrant | undefined {
  return (
    peer &&
    entrant(() => {
      let found = 0
      for (const text of asked) if (peer.test(text)) found++
      return found
    }, isPlausible)
  )
}

function isPlausible(found: number): boolean {
  return found >= PROBES / 2 && found < PROBES * 0.55
}

/** A million keys built in, a million asked for, hashing included. */
async function million(suite: KernelSuite): Promise<void> {
  const keys = suite.isQuick ? 100_000 : 1_000_000
  const present = int64s(keys, 3)
  const asked = int64s(keys, 4)
  const built = BloomFilter.build(xxh3Column(present, 'i64'))
  const numbers = new BigInt64Array(present.values.buffer, present.values.byteOffset, keys)
  const questions = new BigInt64Array(asked.values.buffer, asked.values.byteOffset, keys)
  const set = new Set(numbers)
  const size = suite.isQuick ? '100k' : '1M'
  await race(suite, {
    name: `bloom.build-${size}`,
    unit: 'keys/s',
    amount: keys,
    ours: {
      varve: entrant(
        () => BloomFilter.build(xxh3Column(present, 'i64')),
        (filter) => filter.probeMany(xxh3Column(present, 'i64')).hits === keys,
      ),
    },
    peers: {
      'js Set': entrant(
        () => new Set(numbers),
        (made) => made.size === set.size,
      ),
    },
  })
  await race(suite, {
    name: `bloom.probe-${size}`,
    unit: 'keys/s',
    amount: keys,
    ours: {
      varve: entrant(
        () => built.probeMany(xxh3Column(asked, 'i64')).hits,
        (hits) => hits < keys * 0.003,
      ),
    },
    peers: {
      'js Set': entrant(
        () => {
          let hits = 0
          for (let i = 0; i < keys; i++) if (set.has(questions[i]!)) hits++
          return hits
        },
        (hits) => hits === 0,
      ),
    },
  })
}

/** kernels.md section 5 in plain JavaScript: bit i of the bitmap = hash i may be present. */
function probeWords(blocks: Uint32Array, hashes: Uint32Array): { hits: number; bitmap: Uint8Array } {
  const n = hashes.length >>> 1
  const count = blocks.length >>> 3
  const bitmap = new Uint8Array((n + 7) >>> 3)
  const [s0, s1, s2, s3, s4, s5, s6, s7] = SALTS as [number, number, number, number, number, number, number, number]
  let hits = 0
  for (let i = 0; i < n; i++) {
    const lo = hashes[2 * i]!
    // The products stay below 2^53 while there are fewer than 2^21 blocks.
    const at = Math.floor((hashes[2 * i + 1]! * count) / 4_294_967_296) << 3
    const all =
      (blocks[at]! >>> (Math.imul(lo, s0) >>> 27)) &
      (blocks[at + 1]! >>> (Math.imul(lo, s1) >>> 27)) &
      (blocks[at + 2]! >>> (Math.imul(lo, s2) >>> 27)) &
      (blocks[at + 3]! >>> (Math.imul(lo, s3) >>> 27)) &
      (blocks[at + 4]! >>> (Math.imul(lo, s4) >>> 27)) &
      (blocks[at + 5]! >>> (Math.imul(lo, s5) >>> 27)) &
      (blocks[at + 6]! >>> (Math.imul(lo, s6) >>> 27)) &
      (blocks[at + 7]! >>> (Math.imul(lo, s7) >>> 27)) &
      1
    hits += all
    bitmap[i >>> 3]! |= all << (i & 7)
  }
  return { hits, bitmap }
}

function words(n: number, seed: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(noise(4 * n, seed).buffer)
}

function int64s(n: number, seed: number): Vec {
  return makeVec({ kind: 'fixed', width: 8 }, n, { values: noise(8 * n, seed) })
}

function utf8(texts: readonly string[]): Vec {
  const offsets = new Int32Array(texts.length + 1)
  const parts = texts.map((text) => Buffer.from(text))
  for (const [i, part] of parts.entries()) offsets[i + 1] = offsets[i]! + part.length
  return makeVec({ kind: 'var' }, texts.length, { values: new Uint8Array(Buffer.concat(parts)), offsets })
}
