import { describe, expect, it } from 'vitest'

import { compareNames, MemoryDisk, MemoryRoot } from '../../../bindings/root/index.ts'
import { seededRandom } from '../../../bindings/runtime/index.ts'

/** Of the order of code points and not of UTF-16 units, some of them. */
const LETTERS = ['a', 'b', 'b-', 'b/', '0', '.', 'é', '\uffee', '\u{1f600}'] as const

describe('the names of a disk in memory', () => {
  it('are in order, however many came and went since they were asked for', () => {
    const random = seededRandom(5)
    const disk = new MemoryDisk({ tracks: true })
    const name = (): string => `d/${Array.from({ length: 1 + (random.u32() % 3) }, () => LETTERS[random.u32() % LETTERS.length]).join('')}x`
    for (let round = 0; round < 60; round++) {
      for (let changes = random.u32() % 50; changes > 0; changes--) disk.rename('d', [[name(), random.u32() % 3 === 0 ? undefined : disk.create()]])
      disk.syncDir('d')
      const wanted = [...disk.names.keys()].sort(compareNames)
      expect(disk.sorted).toEqual(wanted)
      expect(disk.fork().disk.sorted).toEqual(wanted)
      expect(disk.crash(random, 'all').sorted).toEqual(wanted)
    }
  })

  it('are one state for a listing, whatever comes and goes meanwhile', async () => {
    const root = new MemoryRoot()
    for (const name of ['a/1', 'a/2', 'a/3', 'a-b', 'a']) await root.put(name, new Uint8Array(1))
    const seen: string[] = []
    for await (const { name } of root.list('a')) {
      seen.push(name)
      await root.put(`${name}0`, new Uint8Array(1))
      await root.delete('a/2')
    }
    expect(seen).toEqual(['a', 'a/1', 'a/3'])
  })

  it('leave room for nothing but a good prefix, said by the first look', async () => {
    const listed = new MemoryRoot().list('a//b')[Symbol.asyncIterator]()
    await expect(listed.next()).rejects.toThrow('has an empty part')
  })
})
