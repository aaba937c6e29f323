// Files that polars writes: LZ4 frames of linked blocks with block and content checksums (flags 54), string views, large lists. The values are a formula, so
// the files that are kept need no polars; where it is installed, what it writes today is read too.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { columnsFromArrow, Lz4CorruptError, SchemaMismatchError, Store, table } from '../../bindings/index.ts'
import { lz4FrameDecode } from '../../bindings/kernels/index.ts'
import { FRAME_ROWS, frameRow, loadPolars, makeFrame } from './polars.ts'

const kept = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`../data/polars/${name}.arrow`, import.meta.url)))
const { polars, reason } = await loadPolars()

/** As a row comes out: dates as text. */
function expectedRow(i: number): Record<string, unknown> {
  const row = frameRow(i)
  return { ...row, day: new Date((row['day'] as number) * 86_400_000).toISOString().slice(0, 10) }
}

async function expectRows(bytes: Uint8Array): Promise<void> {
  const frame = table('frame', columnsFromArrow(bytes))
  await using store = await Store.open('memory:')
  await store.create(frame)
  await store.append(frame, bytes)
  const rows = await store.scan(frame).toArray()
  expect(rows).toHaveLength(FRAME_ROWS)
  const wrong = rows.findIndex((row, i) => show(row) !== show(expectedRow(i)))
  if (wrong >= 0) expect(rows[wrong], `row ${wrong}`).toEqual(expectedRow(wrong))
  expect(wrong).toBe(-1)
}

function show(row: object): string {
  return JSON.stringify(Object.entries(row).toSorted(), (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
}

/** Places of LZ4 frames that link their blocks: magic, then version 01, linked, block checksums, content checksum. */
function linkedFrames(bytes: Uint8Array): number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(0x04); at >= 0; at = bytes.indexOf(0x04, at + 1)) {
    if (bytes[at + 1] === 0x22 && bytes[at + 2] === 0x4d && bytes[at + 3] === 0x18 && bytes[at + 4] === 0x54) places.push(at)
  }
  return places
}

describe('a file of polars', () => {
  it.each(['lz4', 'zstd'])('compressed with %s has the values that polars was given', async (name) => {
    await expectRows(kept(name))
  })

  it('has frames whose blocks reach back into each other: without the blocks before, one does not decode', () => {
    const bytes = kept('lz4')
    const frames = linkedFrames(bytes).map((at) => ({ at, stated: Number(new DataView(bytes.buffer, bytes.byteOffset + at - 8, 8).getBigInt64(0, true)) }))
    const long = frames.filter(({ stated }) => stated > 2 * 65_536)
    expect(long.length).toBeGreaterThan(2)
    const { at } = long[0]!
    // Header of 7 bytes, then the first block: its second one alone is taken for a frame of independent blocks.
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const second = at + 7 + 4 + (view.getUint32(at + 7, true) & 0x7fff_ffff) + 4
    const size = view.getUint32(second, true) & 0x7fff_ffff
    const alone = Uint8Array.of(...bytes.subarray(at, at + 7), ...bytes.subarray(second, second + 4 + size + 4), 0, 0, 0, 0, 0, 0, 0, 0)
    expect(() => lz4FrameDecode(alone, 65_536)).toThrow(Lz4CorruptError)
  })

  it('is refused whichever bit of a frame is flipped', () => {
    const bytes = kept('lz4')
    const at = linkedFrames(bytes)[0]!
    const stated = Number(new DataView(bytes.buffer, bytes.byteOffset + at - 8, 8).getBigInt64(0, true))
    let end = at + 7
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    while (view.getUint32(end, true) !== 0) end += 8 + (view.getUint32(end, true) & 0x7fff_ffff)
    const frame = bytes.slice(at, end + 8)
    expect(lz4FrameDecode(frame, stated)).toHaveLength(stated)
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const flipped = frame.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      // The magic tells other kinds of frames apart; everything else is under a checksum.
      expect(() => lz4FrameDecode(flipped, stated), `bit ${bit}`).toThrow(expect.objectContaining({ code: expect.stringMatching(/^kernel\.lz4-/) }))
      if (bit >= 32) expect(() => lz4FrameDecode(flipped, stated), `bit ${bit}`).toThrow(Lz4CorruptError)
    }
    expect(() => lz4FrameDecode(frame, stated - 1)).toThrow(Lz4CorruptError)
    expect(() => lz4FrameDecode(frame, stated + 1)).toThrow(Lz4CorruptError)
  })

  it('with a flipped bit is refused by a store, and nothing is written', async () => {
    const bytes = kept('lz4')
    bytes[linkedFrames(bytes)[0]! + 20]! ^= 1
    const frame = table('frame', columnsFromArrow(bytes))
    await using store = await Store.open('memory:')
    await store.create(frame)
    await expect(store.append(frame, bytes)).rejects.toThrow(SchemaMismatchError)
    expect(await store.scan(frame).count()).toBe(0)
  })

  it.for(['lz4', 'zstd', 'uncompressed'] as const)('of today, %s, has the values too', async (compression, { skip }) => {
    if (polars === undefined) return skip(reason)
    await expectRows(new Uint8Array(makeFrame(polars).writeIPC({ compression })))
  })
})
