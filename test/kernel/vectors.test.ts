// The published vectors, on the sources; pack.test.ts runs the same on the packed package under each runtime.
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

import * as door from '../../bindings/kernels/public.ts'
import { runVectors } from './vectors/run.ts'
import { sampleText } from './vectors/text.ts'

const FOLDER = new URL('./vectors/', import.meta.url)

describe('the published vectors', () => {
  it('pass through the functions of varve/kernels', () => {
    const { files, compared, wrong } = runVectors(door, FOLDER)
    expect(wrong).toEqual([])
    expect(files).toEqual(expect.arrayContaining(['crc32c.json', 'lz4-frame.json', 'sha256.json', 'xxh3.json']))
    expect(compared).toMatchObject({ crc32c: 7, sha256: 82, Sha256: 82, sha256Many: 82, lz4FrameDecode: 10, parquetBloom: 1 })
    expect(compared['xxh3BigInt']).toBeGreaterThan(700)
    expect(compared['xxh64']).toBeGreaterThan(150)
  })

  it('name every sample of their folder', () => {
    const others = readdirSync(fileURLToPath(FOLDER)).filter((name) => !/\.(?:json|ts)$/.test(name))
    expect(runVectors(door, FOLDER).samples).toEqual(expect.arrayContaining(others))
  })

  it('are told apart from what a wrong kernel gives', () => {
    const { wrong } = runVectors({ ...door, crc32c: (bytes: Uint8Array) => (door.crc32c(bytes) ^ (bytes.length === 9 ? 1 : 0)) >>> 0 }, FOLDER)
    expect(wrong).toEqual([expect.stringContaining('crc32c.json')])
    const careless = {
      ...door,
      lz4FrameDecode: (bytes: Uint8Array, length: number) => (bytes.length === 33 ? door.lz4FrameDecode(bytes, length) : sampleText(length)),
    }
    expect(runVectors(careless, FOLDER).wrong).toHaveLength(6)
    const { sha256: _, ...without } = door
    expect(() => runVectors(without, FOLDER)).toThrow(/no function sha256/)
  })
})
