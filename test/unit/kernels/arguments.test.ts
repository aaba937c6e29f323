// varve/kernels, called wrong: what is no bytes, numbers out of range, modules of others. Every one is refused by an error of ours, before a kernel runs, and
// leaves no kernel memory behind; a digest of what was never there is the worst of answers.
import { runInNewContext } from 'node:vm'

import * as arrow from 'apache-arrow'
import { afterEach, describe, expect, it } from 'vitest'

import {
  allocate,
  BloomFilter,
  columnOf,
  Coverage,
  crc32c,
  crc32cCombine,
  decodeParquetBloom,
  DigestList,
  encodeDictionary,
  encodeFrame,
  encodeParquetBloom,
  filter,
  InvalidConfigError,
  isChunkOf,
  kernelMemory,
  kernelModule,
  lz4BlockDecode,
  lz4BlockEncode,
  lz4FrameBound,
  lz4FrameDecode,
  lz4FrameDecodeInto,
  lz4FrameEncode,
  lz4FrameEncodeInto,
  popcount,
  rangeRoot,
  registerArrowCodecs,
  resyncBytes,
  scanBytes,
  selectedRows,
  Sha256,
  sha256,
  sha256Many,
  take,
  useKernelModule,
  xxh3,
  xxh3BigInt,
  xxh64,
  between,
  canonicalKeys,
  compare,
  concat,
  count,
  decodeDictionary,
  evaluateBitmap,
  groupBy,
  inList,
  isNotNull,
  isNull,
  isSorted,
  join,
  keyHashes,
  mean,
  mergeRuns,
  minMax,
  slice,
  sortIndices,
  startsWith,
  sum,
  toArray,
  toArrow,
  topK,
  unifyDictionaries,
  xxh3Column,
  xxh64Column,
} from '../../../bindings/kernels/public.ts'
import { hex, noise } from '../../kernel/bytes.ts'

afterEach(() => expect(kernelMemory().usedBytes).toBe(0))

const FIELDS = { kind: 1, flags: 0, local: 0, lsn: 1, epoch: 1 }
const SCAN = { firstLsn: 1n, epoch: 1n, seed: 7n }
const bytes = noise(1000)
const block = lz4BlockEncode(new Uint8Array(1000))!
const frame = lz4FrameEncode(new Uint8Array(1000))

/** Every call that takes bytes, with what it is given in their place. */
const ofBytes: Readonly<Record<string, (given: any) => unknown>> = {
  xxh3: (given) => xxh3(given),
  xxh3BigInt: (given) => xxh3BigInt(given),
  xxh64: (given) => xxh64(given),
  crc32c: (given) => crc32c(given),
  sha256: (given) => sha256(given),
  sha256Many: (given) => sha256Many([given]),
  'Sha256.update': (given) => new Sha256().update(given),
  'Sha256.update without native': (given) => new Sha256(false).update(given),
  rangeRoot: (given) => rangeRoot(given),
  DigestList: (given) => new DigestList(given),
  isChunkOf: (given) => isChunkOf(rangeRoot(bytes), { length: 1000, chunk: 0, bytes: given, path: new Uint8Array(0) }),
  'isChunkOf, root': (given) => isChunkOf(given, { length: 1000, chunk: 0, bytes, path: new Uint8Array(0) }),
  'isChunkOf, path': (given) => isChunkOf(rangeRoot(bytes), { length: 1000, chunk: 0, bytes, path: given }),
  lz4FrameEncode: (given) => lz4FrameEncode(given),
  lz4FrameDecode: (given) => lz4FrameDecode(given, 8),
  'lz4FrameDecode of an unknown length': (given) => lz4FrameDecode(given),
  lz4BlockEncode: (given) => lz4BlockEncode(given),
  lz4BlockDecode: (given) => lz4BlockDecode(given, 8),
  lz4FrameEncodeInto: (given) => into((target) => lz4FrameEncodeInto(given, target)),
  lz4FrameDecodeInto: (given) => into((target) => lz4FrameDecodeInto(given, target)),
  scanBytes: (given) => scanBytes(given, SCAN),
  resyncBytes: (given) => resyncBytes(given, 7n),
  encodeFrame: (given) => encodeFrame(given, FIELDS, 7n),
  'BloomFilter.decode': (given) => BloomFilter.decode(given, 'test'),
  'BloomFilter.ofBlocks': (given) => BloomFilter.ofBlocks(given, 0),
  decodeParquetBloom: (given) => decodeParquetBloom(given, 'test'),
  'Coverage.decode': (given) => Coverage.decode(given),
  'Coverage.ofBitmap': (given) => Coverage.ofBitmap(given, 8),
  popcount: (given) => popcount(given, 8),
  selectedRows: (given) => selectedRows(given, 8),
  filter: (given) => filter(columnOf(new Int8Array(8)), given),
}

function into(run: (target: ReturnType<typeof allocate>) => unknown): unknown {
  using target = allocate(4096)
  return run(target)
}

const noBytes: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  null: null,
  number: 12,
  string: 'a text',
  array: [1, 2, 3],
  ArrayBuffer: new ArrayBuffer(300),
  SharedArrayBuffer: new SharedArrayBuffer(300),
  DataView: new DataView(new ArrayBuffer(300)),
  Uint16Array: new Uint16Array(300).fill(0x1234),
  Int8Array: new Int8Array(300),
  Float64Array: new Float64Array(300),
  'something with a length': { byteLength: 300, byteOffset: 0, length: 300 },
}

describe.each(Object.entries(ofBytes))('%s', (_name, run) => {
  it.each(Object.entries(noBytes))('refuses what is no bytes: %s', (_kind, given) => {
    expect(() => run(given)).toThrow(InvalidConfigError)
  })
})

describe('bytes of another kind that are bytes', () => {
  const plain = (name: string, given: Uint8Array): void => {
    const copy = Uint8Array.from(given)
    expect(hex(sha256(given)), name).toBe(hex(sha256(copy)))
    expect(xxh3BigInt(given), name).toBe(xxh3BigInt(copy))
    expect(hex(lz4FrameDecode(lz4FrameEncode(given))), name).toBe(hex(copy))
    expect(popcount(given, 8 * given.length), name).toBe(popcount(copy, 8 * given.length))
  }

  it('are taken: Buffers of the pool at any offset, shared memory, resizable memory, another realm', () => {
    const pooled = Buffer.from('bytes of the pool that begin anywhere, and end there, too')
    for (let from = 0; from < 20; from++) plain(`pool + ${from}`, pooled.subarray(from))
    for (const length of [0, 1, 300, 5000]) {
      const shared = new Uint8Array(new SharedArrayBuffer(length))
      shared.set(noise(length))
      plain('shared', shared)
      const resizable = new Uint8Array(new ArrayBuffer(length, { maxByteLength: 9000 }))
      resizable.set(noise(length))
      plain('resizable', resizable)
    }
    plain('realm', runInNewContext('Uint8Array.from({ length: 700 }, (_, i) => i * 7)') as Uint8Array)
  })

  it('are refused when their memory has become too short for them', () => {
    const memory = new ArrayBuffer(100, { maxByteLength: 200 })
    const view = new Uint8Array(memory, 10, 90)
    memory.resize(50)
    for (const [name, run] of Object.entries(ofBytes)) expect(() => run(view), name).toThrow(InvalidConfigError)
  })

  it('are refused when they reach out of the buffer they are taken from, into what others hold or nobody does', () => {
    const buffer = allocate(100)
    const other = allocate(1000)
    const { buffer: memory, byteOffset } = buffer.bytes
    for (const length of [1000, 1500, 5000]) {
      const view = new Uint8Array(memory, byteOffset, length)
      for (const [name, run] of Object.entries(ofBytes)) expect(() => run(view), `${name} ${length}`).toThrow(InvalidConfigError)
    }
    other.release()
    buffer.release()
  })

  it('are refused when their buffer was released, by the host’s own code, too', () => {
    const below = allocate(100)
    const buffer = allocate(2000)
    const view = buffer.bytes
    buffer.release()
    for (const [name, run] of Object.entries(ofBytes)) expect(() => run(view), name).toThrow(InvalidConfigError)
    below.release()
  })
})

describe('row numbers and hashes', () => {
  it.each([
    ['take', (given: any) => take(columnOf(new Int8Array(8)), given)],
    ['BloomFilter.build', (given: any) => BloomFilter.build(given)],
    ['BloomFilter.buildWithBlocks', (given: any) => BloomFilter.buildWithBlocks(given, 1)],
    ['BloomFilter.probeMany', (given: any) => BloomFilter.build(new Uint32Array(0)).probeMany(given)],
    ['Coverage.ofRows', (given: any) => Coverage.ofRows(given)],
  ])('%s refuses what is no Uint32Array', (_name, run) => {
    for (const given of [
      undefined,
      null,
      5,
      'text',
      new ArrayBuffer(8),
      new Uint8Array(8),
      new Int32Array(2),
      new BigUint64Array(2),
      new DataView(new ArrayBuffer(8)),
    ]) {
      expect(() => run(given)).toThrow(InvalidConfigError)
    }
  })

  it('are two words a hash', () => {
    const filter = BloomFilter.build(Uint32Array.of(1, 2))
    expect(() => BloomFilter.build(Uint32Array.of(1, 2, 3))).toThrow(RangeError)
    expect(() => filter.probeMany(Uint32Array.of(1))).toThrow(RangeError)
  })
})

const FRACTION = [0.5, 1000.5]
const NO_NUMBER: readonly unknown[] = [Number.NaN, '1000', null, 1000n]
const BELOW = [-1, -64, -(2 ** 32), -Infinity]

/** Calls with a number in the place that `run` fills, and what is refused there. */
const ofNumbers: Readonly<Record<string, { readonly run: (given: any) => unknown; readonly bad: readonly unknown[] }>> = {
  'allocate, bytes': { run: (given) => allocate(given), bad: [...FRACTION, ...NO_NUMBER, ...BELOW, Infinity] },
  'lz4FrameDecode, length': { run: (given) => lz4FrameDecode(frame, given), bad: [...FRACTION, ...NO_NUMBER, ...BELOW] },
  'lz4BlockDecode, length': { run: (given) => lz4BlockDecode(block, given), bad: [...FRACTION, ...NO_NUMBER, ...BELOW] },
  'lz4BlockEncode, most': { run: (given) => lz4BlockEncode(bytes, given), bad: NO_NUMBER },
  'lz4FrameBound, bytes': { run: (given) => lz4FrameBound(given), bad: [...FRACTION, ...NO_NUMBER, ...BELOW, 2 ** 53] },
  'crc32c, previous': { run: (given) => crc32c(bytes, given), bad: [...FRACTION, ...NO_NUMBER, Infinity] },
  'crc32cCombine, a': { run: (given) => crc32cCombine(given, 1, 1), bad: [...FRACTION, ...NO_NUMBER] },
  'crc32cCombine, b': { run: (given) => crc32cCombine(1, given, 1), bad: [...FRACTION, ...NO_NUMBER] },
  'crc32cCombine, bytes': { run: (given) => crc32cCombine(1, 2, given), bad: [...FRACTION, ...NO_NUMBER, ...BELOW, 2 ** 53] },
  'xxh3, seed': { run: (given) => xxh3(bytes, given), bad: [5, 5n, '5', {}, { lo: 1 }, { lo: 1n, hi: 0n }, { lo: 0.5, hi: 0 }] },
  'xxh64, seed': { run: (given) => xxh64(bytes, given), bad: [5, 5n, '5', {}, { lo: 1 }, { lo: 1n, hi: 0n }, { lo: 0.5, hi: 0 }] },
  'xxh3BigInt, seed': { run: (given) => xxh3BigInt(bytes, given), bad: [5, '5', -1n, 1n << 64n] },
  'scanBytes, capacity': { run: (given) => scanBytes(bytes, { ...SCAN, capacity: given }), bad: [...FRACTION, ...NO_NUMBER, ...BELOW] },
  'scanBytes, LSN': { run: (given) => scanBytes(bytes, { ...SCAN, firstLsn: given }), bad: [1, '1', -1n, 1n << 64n] },
  'scanBytes, epoch': { run: (given) => scanBytes(bytes, { ...SCAN, epoch: given }), bad: [1, '1', -1n, 1n << 64n] },
  'scanBytes, seed': { run: (given) => scanBytes(bytes, { ...SCAN, seed: given }), bad: [1, '1', -1n, 1n << 64n] },
  'resyncBytes, seed': { run: (given) => resyncBytes(bytes, given), bad: [1, '1', -1n, 1n << 64n] },
  'resyncBytes, start': { run: (given) => resyncBytes(bytes, 1n, given), bad: [4, -8, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, kind': { run: (given) => encodeFrame(bytes, { ...FIELDS, kind: given }, 1n), bad: [256, -1, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, flags': { run: (given) => encodeFrame(bytes, { ...FIELDS, flags: given }, 1n), bad: [256, -1, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, local': { run: (given) => encodeFrame(bytes, { ...FIELDS, local: given }, 1n), bad: [65_536, -1, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, LSN': { run: (given) => encodeFrame(bytes, { ...FIELDS, lsn: given }, 1n), bad: [2 ** 53, -1, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, epoch': { run: (given) => encodeFrame(bytes, { ...FIELDS, epoch: given }, 1n), bad: [2 ** 53, -1, ...FRACTION, ...NO_NUMBER] },
  'encodeFrame, seed': { run: (given) => encodeFrame(bytes, FIELDS, given), bad: [1, '1', -1n, 1n << 64n] },
  'BloomFilter.build, bits': { run: (given) => BloomFilter.build(Uint32Array.of(1, 2), given), bad: [-1, ...NO_NUMBER] },
  'BloomFilter.buildWithBlocks': { run: (given) => BloomFilter.buildWithBlocks(Uint32Array.of(1, 2), given), bad: [0, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'DigestList.path': { run: (given) => new DigestList(bytes).path(given), bad: [1, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'Coverage.range': { run: (given) => Coverage.range(0, given), bad: [2 ** 32, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'Coverage.ofBitmap': { run: (given) => Coverage.ofBitmap(bytes, given), bad: [8001, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'Coverage.toBitmap': { run: (given) => Coverage.range(1, 5).toBitmap(given), bad: [2 ** 32, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'Coverage.decode, rows': { run: (given) => Coverage.decode(Coverage.range(1, 5).encode(), { rows: given }), bad: [Number.NaN, -1] },
  'selectedRows, rows': { run: (given) => selectedRows(bytes, given), bad: [8001, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'popcount, rows': { run: (given) => popcount(bytes, given), bad: [8001, ...FRACTION, ...NO_NUMBER, ...BELOW] },
  'encodeDictionary, most': { run: (given) => encodeDictionary(columnOf(['a', 'b']), given), bad: [Number.NaN, ...BELOW] },
}

describe.each(Object.entries(ofNumbers))('%s', (_name, { run, bad }) => {
  it.each(bad.map((given) => [given]))('refuses %s', (given) => {
    expect(() => run(given)).toThrow(RangeError)
  })
})

describe('a column', () => {
  const column = columnOf(Int32Array.of(1, 2, 3))
  const ofColumns: Readonly<Record<string, (given: any) => unknown>> = {
    filter: (given) => filter(given, Uint8Array.of(7)),
    take: (given) => take(given, Uint32Array.of(0)),
    slice: (given) => slice(given, 0, 1),
    concat: (given) => concat([given]),
    'concat, second': (given) => concat([column, given]),
    encodeDictionary: (given) => encodeDictionary(given, 5),
    decodeDictionary: (given) => decodeDictionary(given),
    unifyDictionaries: (given) => unifyDictionaries([given]),
    compare: (given) => compare(given, 'eq', 1),
    between: (given) => between(given, 1, 2),
    inList: (given) => inList(given, [1]),
    startsWith: (given) => startsWith(given, 'a'),
    isNull: (given) => isNull(given),
    isNotNull: (given) => isNotNull(given),
    sortIndices: (given) => sortIndices([given]),
    'sortIndices, descending': (given) => sortIndices([{ column: given, descending: true }]),
    topK: (given) => topK([given], 1),
    isSorted: (given) => isSorted([given]),
    mergeRuns: (given) => mergeRuns([[given], [given]]),
    count: (given) => count(given),
    sum: (given) => sum(given),
    mean: (given) => mean(given),
    minMax: (given) => minMax(given),
    'groupBy, key': (given) => groupBy([given], { n: { count: true } }),
    'groupBy, aggregate': (given) => groupBy([column], { n: { sum: given } }),
    'join, build': (given) => join([given], [column]),
    'join, probe': (given) => join([column], [given]),
    canonicalKeys: (given) => canonicalKeys([given]),
    keyHashes: (given) => keyHashes([given]),
    xxh3Column: (given) => xxh3Column(given),
    xxh64Column: (given) => xxh64Column(given),
    toArray: (given) => toArray(given),
    toArrow: (given) => toArrow(given, arrow),
  }

  it.each(Object.entries(ofColumns))('%s refuses what columnOf did not make, such as the vector or array itself', (_name, run) => {
    const vector = arrow.vectorFromArray([1, null, 2], new arrow.Int32())
    for (const given of [undefined, null, 5, 'text', [1, 2], {}, Int32Array.of(1, 2, 3), vector, { type: { kind: 'int' } }]) {
      expect(() => run(given)).toThrow(InvalidConfigError)
    }
  })

  it.each(Object.entries(ofColumns))('%s refuses a column whose array was transferred since', (_name, run) => {
    const values = Int32Array.of(3, 1, 2)
    const shared = columnOf(values)
    structuredClone(values, { transfer: [values.buffer] })
    expect(() => run(shared)).toThrow(InvalidConfigError)
  })

  it('is compared by what is a comparison, and with a list that is one', () => {
    for (const op of ['foo', '==', '', undefined, 'toString']) expect(() => compare(column, op as 'eq', 1)).toThrow(InvalidConfigError)
    for (const list of [undefined, 5, 'abc', new Set([1])]) expect(() => inList(column, list as never)).toThrow(InvalidConfigError)
  })

  it('is a column also where a default is taken of it', () => {
    for (const given of [undefined, null, {}]) expect(() => encodeDictionary(given as never)).toThrow(InvalidConfigError)
  })

  it('is aggregated by what is an aggregate', () => {
    for (const aggregate of [undefined, null, {}, { foo: column }, { sum: true }, { min: column, max: column }, 'count']) {
      expect(() => groupBy([column], { n: aggregate as never })).toThrow(InvalidConfigError)
    }
  })
})

describe('a library', () => {
  it('is refused when it is not apache-arrow', () => {
    for (const given of [undefined, null, {}, 5, { Vector: class {} }]) {
      expect(() => toArrow(columnOf(Int32Array.of(1)), given as never)).toThrow(InvalidConfigError)
      expect(() => registerArrowCodecs(given as never)).toThrow(InvalidConfigError)
    }
  })
})

describe('an expression over bitmaps', () => {
  it('is refused when it is none', () => {
    for (const given of [undefined, null, 5, 'text', {}, { and: 5 }, { or: new Set() }, { not: {} }, { and: [{}] }, () => undefined, () => [1]]) {
      expect(() => evaluateBitmap(given as never, 3)).toThrow(InvalidConfigError)
    }
  })
})

describe('a running SHA-256', () => {
  it.each([true, false])('that has given its digest is used no more (native: %s)', (native) => {
    const running = new Sha256(native).update(bytes)
    expect(hex(running.digest())).toBe(hex(sha256(bytes)))
    expect(() => running.update(bytes)).toThrow(InvalidConfigError)
    expect(() => running.digest()).toThrow(InvalidConfigError)
  })
})

describe('a limit on what comes out', () => {
  it('of a block that no block reaches takes no memory for it', () => {
    expect(hex(lz4BlockEncode(bytes, Infinity)!)).toBe(hex(lz4BlockEncode(bytes, 2000)!))
    expect(hex(lz4BlockEncode(bytes, 2 ** 53)!)).toBe(hex(lz4BlockEncode(bytes, 2000)!))
    for (const most of BELOW) expect(lz4BlockEncode(bytes, most)).toBeUndefined()
  })

  it('of a scan that no scan reaches takes no memory for it', () => {
    const log = encodeFrame(bytes, FIELDS, 7n)
    expect([...scanBytes(log, { ...SCAN, capacity: Number.MAX_SAFE_INTEGER }).offsets]).toEqual([0])
    expect(scanBytes(log, { ...SCAN, capacity: 0 })).toMatchObject({ count: 0, stop: 1, consumed: 0 })
  })
})

describe('bloom filters', () => {
  it('are merged with those of as many blocks, and made of whole blocks', () => {
    const one = BloomFilter.buildWithBlocks(Uint32Array.of(1, 2), 1)
    expect(() => one.merge(BloomFilter.buildWithBlocks(Uint32Array.of(1, 2), 2))).toThrow(RangeError)
    for (const length of [0, 31, 33]) expect(() => BloomFilter.ofBlocks(new Uint8Array(length), 0)).toThrow(RangeError)
    expect(decodeParquetBloom(encodeParquetBloom(one), 'test').probeOne(1, 2)).toBe(true)
  })
})

describe('a module of another thread', () => {
  it('is one of the kernels', () => {
    const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))
    for (const given of [undefined, null, {}, new Uint8Array(8), empty]) expect(() => useKernelModule(given as never)).toThrow(InvalidConfigError)
    useKernelModule(kernelModule())
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
  })
})
