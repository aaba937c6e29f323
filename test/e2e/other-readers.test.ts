// A user's data is never hostage: the files of a store open in Arrow readers that know nothing of it, LZ4 bodies included (the codec is the CLI's, in plain
// TypeScript; the readers bring none).
import { readdirSync, readFileSync, rmSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import * as flechette from '@uwdata/flechette'
import { Table as ArrowTable, tableFromIPC, compressionRegistry, CompressionType } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { lz4FrameEncode } from '../../bindings/kernels/index.ts'
import { columns, Store, t, table } from '../../bindings/index.ts'
import { decodeLz4Frame } from '../../bindings/cli/formats/arrow-codecs.ts'

const ROWS = 70_000
const flights = table(
  'flights',
  { id: t.int64(), date: t.timestamp('ms'), origin: t.utf8(), delay: t.int16().nullable(), share: t.float64(), on: t.bool() },
  { key: ['id'] },
)
/** A frame of one byte: nothing is written here, but the registries try an encoder before they take it. */
const SMALL_FRAME = lz4FrameEncode(new Uint8Array(1))
const codec = { encode: () => SMALL_FRAME, decode: decodeLz4Frame }
const AIRPORTS = ['SFO', 'LAX', 'JFK', 'Zürich', '東京']

describe('a fragment opens in', () => {
  let root: string
  let file: Uint8Array

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'varve-readers-'))
    await using store = await Store.open(root)
    await store.create(flights)
    await store.append(
      flights,
      columns({
        id: BigInt64Array.from({ length: ROWS }, (_, i) => BigInt(i)),
        date: Array.from({ length: ROWS }, (_, i) => new Date(i * 1000)),
        origin: Array.from({ length: ROWS }, (_, i) => AIRPORTS[i % AIRPORTS.length]!),
        delay: Array.from({ length: ROWS }, (_, i) => (i % 7 === 0 ? null : i % 100)),
        share: Float64Array.from({ length: ROWS }, (_, i) => i / 8),
        on: Array.from({ length: ROWS }, (_, i) => i % 3 === 0),
      }),
    )
    const folder = join(root, 'fragments', readdirSync(join(root, 'fragments'))[0]!)
    file = readFileSync(
      join(
        folder,
        readdirSync(folder).find((name) => name.endsWith('.arrow'))!,
      ),
    )
  })
  afterAll(() => rmSync(root, { recursive: true, force: true }))

  const sample = [0, 1, 7, 65_535, 65_536, ROWS - 1]

  it('flechette, with a plain LZ4 codec that shares nothing with the kernels', () => {
    flechette.setCompressionCodec(flechette.CompressionType.LZ4_FRAME, codec)
    const read = flechette.tableFromIPC(file, { useBigInt: true, useDate: true })
    expect(read.numRows).toBe(ROWS)
    for (const i of sample) {
      expect(read.getChild('id').at(i)).toBe(BigInt(i))
      expect(read.getChild('origin').at(i)).toBe(AIRPORTS[i % AIRPORTS.length])
      expect(read.getChild('delay').at(i)).toBe(i % 7 === 0 ? null : i % 100)
      expect(read.getChild('share').at(i)).toBe(i / 8)
      expect(read.getChild('on').at(i)).toBe(i % 3 === 0)
      expect(Number(read.getChild('date').at(i))).toBe(i * 1000)
    }
  })

  it('apache-arrow, with a plain LZ4 codec that shares nothing with the kernels', () => {
    compressionRegistry.set(CompressionType.LZ4_FRAME, codec)
    const read: ArrowTable = tableFromIPC(file)
    expect(read.numRows).toBe(ROWS)
    for (const i of sample) {
      expect(read.getChild('id')!.get(i)).toBe(BigInt(i))
      expect(read.getChild('origin')!.get(i)).toBe(AIRPORTS[i % AIRPORTS.length])
      expect(read.getChild('delay')!.get(i)).toBe(i % 7 === 0 ? null : i % 100)
      expect(read.getChild('on')!.get(i)).toBe(i % 3 === 0)
    }
  })
})
