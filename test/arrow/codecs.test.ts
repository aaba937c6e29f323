// The codecs of varve/kernels in apache-arrow and flechette: what they write with it, everyone reads, and what others wrote, they read.
import { readFileSync } from 'node:fs'
import { zstdCompressSync } from 'node:zlib'
import * as flechette from '@uwdata/flechette'
import * as arrow from 'apache-arrow'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { columnsFromArrow, Store, table } from '../../bindings/index.ts'
import { lz4Codec, lz4FrameDecode, Lz4TooLargeError, registerArrowCodecs } from '../../bindings/kernels/public.ts'
import { decodeLz4Frame } from '../../bindings/cli/formats/arrow-codecs.ts'
import { columnValues } from './raw.ts'

const { CompressionType, compressionRegistry } = arrow
const MIB = 2 ** 20

describe('registerArrowCodecs', () => {
  it('leaves what the host registered, and registers once', () => {
    const theirs = { decode: (bytes: Uint8Array) => bytes }
    const codecs = new Map<number, unknown>([[CompressionType.ZSTD, theirs]])
    const set = vi.fn<(type: number, codec: unknown) => void>((type: number, codec: unknown) => void codecs.set(type, codec))
    const library = { CompressionType, compressionRegistry: { get: (type: number) => codecs.get(type) ?? null, set } }
    expect(registerArrowCodecs(library)).toEqual({ lz4: true, zstd: false })
    expect(registerArrowCodecs(library)).toEqual({ lz4: false, zstd: false })
    expect(set).toHaveBeenCalledTimes(1)
    expect(codecs.get(CompressionType.ZSTD)).toBe(theirs)
    expect(codecs.get(CompressionType.LZ4_FRAME)).toBe(lz4Codec)
    codecs.delete(CompressionType.ZSTD)
    expect(registerArrowCodecs(library)).toEqual({ lz4: false, zstd: true })
  })
})

describe('apache-arrow with the codecs of the kernels', () => {
  const ROWS = 20_000
  const made: arrow.Table = arrow.tableFromArrays({
    id: BigInt64Array.from({ length: ROWS }, (_, i) => BigInt(i)),
    share: Float64Array.from({ length: ROWS }, (_, i) => (i % 64) / 8),
    origin: Array.from({ length: ROWS }, (_, i) => (i % 7 === 0 ? null : ['SFO', 'Zürich', '東京'][i % 3]!)),
    on: Array.from({ length: ROWS }, (_, i) => i % 3 === 0),
    list: Array.from({ length: ROWS }, (_, i) => [i % 5, i % 3]),
  })
  const names = made.schema.fields.map((field) => field.name)
  const values = (of: arrow.Table): unknown[] => names.map((name) => columnValues(of, name))

  const written = (of: arrow.Table): Uint8Array => arrow.tableToIPC(of, 'file', CompressionType.LZ4_FRAME)

  beforeAll(() => {
    expect(registerArrowCodecs(arrow)).toEqual({ lz4: true, zstd: true })
    flechette.setCompressionCodec(flechette.CompressionType.LZ4_FRAME, lz4Codec)
  })

  it('writes LZ4_FRAME that apache-arrow, flechette and a store read with equal values', async () => {
    const bytes = written(made)
    expect(bytes.length).toBeLessThan(arrow.tableToIPC(made, 'file').length / 3)
    expect(values(arrow.tableFromIPC(bytes))).toEqual(values(made))
    const theirs = flechette.tableFromIPC(bytes, { useBigInt: true })
    for (const name of names) {
      const plain = (column: Iterable<unknown>): unknown[] =>
        Array.from(column, (value) => (ArrayBuffer.isView(value) || value instanceof arrow.Vector ? Array.from(value as Iterable<unknown>) : value))
      expect(plain(theirs.getChild(name) as Iterable<unknown>)).toEqual(plain(made.getChild(name)!))
    }
    const trips = table('trips', columnsFromArrow(bytes))
    await using store = await Store.open('memory:')
    await store.create(trips)
    await store.append(trips, bytes)
    expect(values((await store.scan(trips).toArrow()) as unknown as arrow.Table)).toEqual(values(made))
  })

  it('writes lengths that are not those of the content (apache/arrow-js pull request 470), which a store sees through', async () => {
    const bytes = written(made)
    const [at] = frameOffsets(bytes)
    expect(Number(new DataView(bytes.buffer, bytes.byteOffset + at! - 8, 8).getBigInt64(0, true))).toBe(frameAt(bytes, at!).length)
    const codec = compressionRegistry.get(CompressionType.ZSTD)!
    compressionRegistry.set(CompressionType.ZSTD, { ...codec, encode: (plain) => new Uint8Array(zstdCompressSync(plain)) })
    const zstd = arrow.tableToIPC(made, 'stream', CompressionType.ZSTD)
    const trips = table('trips', columnsFromArrow(zstd))
    await using store = await Store.open('memory:')
    await store.create(trips)
    await store.append(trips, zstd)
    expect(values((await store.scan(trips).toArrow()) as unknown as arrow.Table)).toEqual(values(made))
  })

  it('reads what polars writes: linked blocks and checksums', () => {
    const bytes = new Uint8Array(readFileSync(new URL('../data/polars/lz4.arrow', import.meta.url)))
    const frames = frameOffsets(bytes)
    expect(frames.length).toBeGreaterThan(5)
    for (const at of frames) {
      const stated = Number(new DataView(bytes.buffer, bytes.byteOffset + at - 8, 8).getBigInt64(0, true))
      const frame = frameAt(bytes, at)
      expect(Buffer.compare(lz4Codec.decode(frame), lz4FrameDecode(frame, stated))).toBe(0)
    }
  })

  it('reads ZSTD bodies by the host', () => {
    const codec = compressionRegistry.get(CompressionType.ZSTD)!
    const plain = new Uint8Array(100_000).fill(7)
    expect(Buffer.compare(codec.decode!(new Uint8Array(zstdCompressSync(plain))), plain)).toBe(0)
    expect(() => codec.decode!(plain)).toThrow()
    const frame = new Uint8Array(zstdCompressSync(made.getChild('id')!.data[0]!.values as BigInt64Array))
    for (const end of [5, 20, 1000, frame.length - 1]) expect(() => codec.decode!(frame.subarray(0, end)), `${end}`).toThrow()
    // One that says it holds less than it does.
    const lying = frame.slice()
    expect(lying[4]! >> 6).toBe(2)
    lying[(lying[4]! & 32) === 0 ? 6 : 5]! ^= 1
    expect(() => codec.decode!(lying)).toThrow()
  })

  it('cuts a buffer over 4 MiB into blocks', () => {
    const big = Int32Array.from({ length: 2.5 * MIB }, (_, i) => i >> 4)
    const bytes = written(arrow.tableFromArrays({ big }))
    const [at] = frameOffsets(bytes)
    expect(blockSizes(bytes, at!)).toHaveLength(3)
    expect(Buffer.compare(lz4Codec.decode(frameAt(bytes, at!)), new Uint8Array(big.buffer))).toBe(0)
    expect(arrow.tableFromIPC(bytes).getChild('big')!.toArray()).toEqual(big)
  })

  it('stores what does not shrink raw: at most half a per cent more', () => {
    let state = 1
    const noise = Uint32Array.from({ length: MIB }, () => (state = (Math.imul(state, 0x19660d) + 0x3c6ef35f) >>> 0) ^ (state >>> 15))
    const frame = lz4Codec.encode(new Uint8Array(noise.buffer))
    expect(blockSizes(frame, 0).every((word) => word >= 0x8000_0000)).toBe(true)
    expect(frame.length).toBeLessThan(noise.byteLength * 1.005)
    const bytes = written(arrow.tableFromArrays({ noise }))
    expect(bytes.length).toBeLessThan(noise.byteLength * 1.005)
    expect(arrow.tableFromIPC(bytes).getChild('noise')!.toArray()).toEqual(noise)
  })
})

describe('a frame without a length beside it', () => {
  const text = new TextEncoder().encode('seats '.repeat(20_000))
  const frame = lz4Codec.encode(text)

  it('decodes to what its blocks hold, as the plain decoder has it', () => {
    for (const n of [0, 1, 100, 65_536, text.length]) {
      const packed = lz4Codec.encode(text.subarray(0, n))
      expect(Buffer.compare(lz4Codec.decode(packed), text.subarray(0, n))).toBe(0)
      expect(Buffer.compare(decodeLz4Frame(packed), text.subarray(0, n))).toBe(0)
    }
    const two = Uint8Array.of(...frame, 0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9, ...frame)
    expect(lz4Codec.decode(two)).toHaveLength(2 * text.length)
    expect(lz4Codec.decode(new Uint8Array(0))).toHaveLength(0)
  })

  it.each(['linked-checksums.lz4', 'independent.lz4', 'two-frames.lz4', 'zeros.lz4'])('decodes %s of the lz4 tool', (name) => {
    const bytes = new Uint8Array(readFileSync(new URL(`../kernel/vectors/${name}`, import.meta.url)))
    const made = lz4Codec.decode(bytes)
    expect(made.length).toBeGreaterThan(0)
    expect(Buffer.compare(made, lz4FrameDecode(bytes, made.length))).toBe(0)
    for (let end = 4; end < Math.min(bytes.length, 400); end++) {
      expect(() => lz4Codec.decode(bytes.subarray(0, end)), `${end}`).toThrow(expect.objectContaining({ code: expect.stringMatching(/^kernel\.lz4-/) }))
    }
  })

  it('that states 2 GiB over a few bytes is refused before anything is allocated', () => {
    // Version 01 with a content size, then its checksum (looked at only when it comes to decoding).
    const bomb = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x68, 0x70, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x10, 0, 0, 0, 0)
    expect(() => lz4Codec.decode(bomb)).toThrow(Lz4TooLargeError)
    expect(() => lz4FrameDecode(bomb, 2 ** 31)).toThrow(Lz4TooLargeError)
  })

  it('that is damaged anywhere ends in a typed error or its own length', () => {
    for (let bit = 0; bit < Math.min(frame.length, 600) * 8; bit++) {
      const bad = frame.slice()
      bad[bit >> 3]! ^= 1 << (bit & 7)
      try {
        lz4Codec.decode(bad)
      } catch (error) {
        expect((error as { code: string }).code, `bit ${bit}`).toMatch(/^kernel\.lz4-/)
      }
    }
  })
})

/** Places of LZ4 frames. */
function frameOffsets(bytes: Uint8Array): number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(0x04); at >= 0; at = bytes.indexOf(0x04, at + 1)) {
    if (bytes[at + 1] === 0x22 && bytes[at + 2] === 0x4d && bytes[at + 3] === 0x18 && bytes[at + 4]! >> 6 === 1) places.push(at)
  }
  return places
}

function blockSizes(bytes: Uint8Array, frame: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const checksum = (bytes[frame + 4]! & 16) === 0 ? 0 : 4
  const sizes: number[] = []
  for (let at = frame + 7; view.getUint32(at, true) !== 0; at += 4 + (sizes.at(-1)! & 0x7fff_ffff) + checksum) sizes.push(view.getUint32(at, true))
  return sizes
}

/** One frame without content size, to its end. */
function frameAt(bytes: Uint8Array, at: number): Uint8Array {
  const checksum = (bytes[at + 4]! & 16) === 0 ? 0 : 4
  const blocks = blockSizes(bytes, at).reduce((sum, word) => sum + 4 + (word & 0x7fff_ffff) + checksum, 0)
  return bytes.subarray(at, at + 7 + blocks + 4 + (bytes[at + 4]! & 4))
}
