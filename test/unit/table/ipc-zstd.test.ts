// Zstd bodies of Arrow IPC, by the host's own zstd and by the decoder in JavaScript: same bytes, same refusals.
import { existsSync, readFileSync } from 'node:fs'
import zlib from 'node:zlib'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { nativeZstd } from '../../../bindings/kernels/index.ts'
import { DecodeError } from '../../../bindings/format/index.ts'
import { plainZstd, type ZstdDecode, zstdFrameDecode } from '../../../bindings/table/ipc-zstd.ts'

const { ZSTD_c_checksumFlag, ZSTD_c_compressionLevel, ZSTD_c_contentSizeFlag, ZSTD_c_windowLog } = zlib.constants
const packed = (plain: Uint8Array, params: Record<number, number> = {}): Uint8Array => new Uint8Array(zlib.zstdCompressSync(plain, { params }))

/** Without a stated content length: what writers that stream make. */
function streamed(plain: Uint8Array, checksum = 0): Uint8Array {
  const frame = packed(plain, { [ZSTD_c_contentSizeFlag]: 0, [ZSTD_c_checksumFlag]: checksum })
  expect(frame[4]! & 0xe0).toBe(0)
  return frame
}

function hash(n: number): number {
  const mixed = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d)
  return (mixed ^ (mixed >>> 12)) >>> 0
}
const words = Uint8Array.from({ length: 400_000 }, (_, i) => 97 + (hash(i >> 4) % 7) + ((i & 15) >> 2))
const noise = Uint8Array.from({ length: 300_000 }, (_, i) => hash(i * 7919))

const native = nativeZstd()!
const decoders: [string, ZstdDecode][] = [
  ["the host's", native],
  ['the plain', await plainZstd()],
]

describe.each(decoders)('%s zstd decoder', (_name, decode) => {
  it.each([
    ['one byte', Uint8Array.of(7)],
    ['one value', new Uint8Array(100_000).fill(9)],
    ['255, 256 and 257 bytes', words.subarray(0, 257)],
    ['words', words],
    ['noise', noise],
    ['a block to the byte', words.subarray(0, 131_072)],
    ['zeros beyond a few blocks', new Uint8Array(5_000_000)],
  ])('gives the bytes of %s back', (_what, plain) => {
    for (const params of [{}, { [ZSTD_c_checksumFlag]: 1 }, { [ZSTD_c_compressionLevel]: 19 }, { [ZSTD_c_windowLog]: 10 }]) {
      expect(Buffer.compare(zstdFrameDecode(packed(plain, params), plain.length, decode), plain)).toBe(0)
    }
    expect(Buffer.compare(zstdFrameDecode(streamed(plain), plain.length, decode), plain)).toBe(0)
    expect(Buffer.compare(zstdFrameDecode(streamed(plain, 1), plain.length, decode), plain)).toBe(0)
  })

  it('gives random bytes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 2000 }), fc.nat(40), fc.boolean(), (piece, times, checksum) => {
        const plain = new Uint8Array(piece.length * (times + 1))
        for (let i = 0; i <= times; i++) plain.set(piece, i * piece.length)
        const frame = packed(plain, { [ZSTD_c_checksumFlag]: checksum ? 1 : 0 })
        expect(zstdFrameDecode(frame, plain.length, decode)).toEqual(plain)
      }),
      { numRuns: 60 },
    )
  })

  it.each([
    ['a stated length one too small', packed(words), words.length - 1],
    ['a stated length one too large', packed(words), words.length + 1],
    ['the same, where the frame states none', streamed(words), words.length - 1],
    ['one more, where the frame states none', streamed(words), words.length + 1],
    ['a frame that states more than its blocks hold', lying(words, words.length + 5), words.length + 5],
    ['a frame that states less than its blocks hold', lying(words, words.length - 5), words.length - 5],
    ['bytes behind the frame', Uint8Array.of(...packed(words.subarray(0, 900)), 0), 900],
    ['two frames', Uint8Array.of(...packed(words.subarray(0, 900)), ...packed(words.subarray(0, 900))), 1800],
    ['a skippable frame first', Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9, ...packed(words.subarray(0, 900))), 900],
    ['no frame', noise.subarray(0, 100), 100],
    ['nothing', new Uint8Array(0), 5],
    ['another checksum', withByte(packed(words, { [ZSTD_c_checksumFlag]: 1 }), -1, (byte) => byte ^ 1), words.length],
    ['a dictionary id', withByte(packed(words), 4, (byte) => byte | 1), words.length],
    ['a reserved bit', withByte(packed(words), 4, (byte) => byte | 8), words.length],
  ])('refuses %s', (_what, frame, stated) => {
    expect(() => zstdFrameDecode(frame, stated, decode)).toThrow(DecodeError)
  })

  it('refuses a frame cut anywhere', () => {
    const frame = packed(words.subarray(0, 3000))
    for (let end = 0; end < frame.length; end++) expect(() => zstdFrameDecode(frame.subarray(0, end), 3000, decode), `${end}`).toThrow(DecodeError)
  })

  it('ends in the stated number of bytes or a typed error, whatever is flipped', () => {
    const frame = packed(words.subarray(0, 40_000))
    for (let bit = 0; bit < frame.length * 8; bit += 3) {
      try {
        expect(
          zstdFrameDecode(
            withByte(frame, bit >> 3, (byte) => byte ^ (1 << (bit & 7))),
            40_000,
            decode,
          ),
        ).toHaveLength(40_000)
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError)
      }
    }
  })
})

it('refuses a bomb before the decoder sees it', () => {
  const decode = vi.fn<ZstdDecode>()
  const small = packed(new Uint8Array(1000))
  expect(() => zstdFrameDecode(lying(new Uint8Array(1000), 2 ** 30), 2 ** 30, decode)).toThrow('bytes stated over blocks that yield at most')
  expect(() => zstdFrameDecode(small, 2 ** 30, decode)).toThrow(DecodeError)
  expect(decode).not.toHaveBeenCalled()
})

/** The frame of `plain` with another content length in its header. */
function lying(plain: Uint8Array, bytes: number): Uint8Array {
  const blocks = streamed(plain).subarray(6)
  const header = new Uint8Array(10)
  new DataView(header.buffer).setUint32(0, 0xfd2fb528, true)
  header[4] = 0x80
  // A window of 2 MiB, as level 3 has it.
  header[5] = 11 << 3
  new DataView(header.buffer).setUint32(6, bytes, true)
  return Uint8Array.of(...header, ...blocks)
}

/** `at`: from the end where it is negative. */
function withByte(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  const out = bytes.slice()
  const place = at < 0 ? out.length + at : at
  out[place] = change(out[place]!)
  return out
}

describe('a host', () => {
  const shared = new URL('../../../../shared/data/arrow-testing/data/', import.meta.url)
  const root = existsSync(shared) ? shared : new URL('../../data/arrow-testing/data/', import.meta.url)
  const bytes = new Uint8Array(readFileSync(new URL('arrow-ipc-stream/integration/2.0.0-compression/generated_zstd.stream', root)))
  const getBuiltinModule = process.getBuiltinModule
  afterEach(() => {
    vi.restoreAllMocks()
    vi.resetModules()
  })

  async function rowsHere(hasZstd: boolean, inTransaction: boolean): Promise<unknown[]> {
    const hidden = vi
      .spyOn(process, 'getBuiltinModule')
      .mockImplementation((name) => (name === 'node:zlib' && !hasZstd ? undefined : getBuiltinModule(name)) as never)
    vi.resetModules()
    const varve = await import('../../../bindings/index.ts')
    const trips = varve.table('trips', varve.columnsFromArrow(bytes))
    await using store = await varve.Store.open('memory:')
    await store.create(trips)
    if (inTransaction) await store.transact((tx) => tx.append(trips, bytes as never))
    else await store.append(trips, bytes as never)
    expect(hidden).toHaveBeenCalledWith('node:zlib')
    return await store.scan(trips).toArray()
  }

  it('without zstd reads the same rows as one that has it', async () => {
    const rows = await rowsHere(true, false)
    expect(rows).toHaveLength(60)
    expect(await rowsHere(false, false)).toEqual(rows)
    expect(await rowsHere(true, true)).toEqual(rows)
  })

  it('without zstd says so inside a transaction', async () => {
    await expect(rowsHere(false, true)).rejects.toThrow('trips: Arrow IPC compressed with zstd cannot be read inside a transaction on this host')
  })
})
