import { describe, expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const textOf = (root: MemoryRoot, name: string): string => new TextDecoder().decode(root.getSync(name).bytes)

describe('a memory root behind a kill', () => {
  it('has all that was written, and what was not synced may still be lost by a power cut', async () => {
    const root = new MemoryRoot({ loseUnsynced: 1 })
    root.putSync('synced', bytes('a'))
    root.putSync('unsynced', bytes('b'), { sync: false } as never)
    const after = root.restart()
    expect([textOf(after, 'synced'), textOf(after, 'unsynced')]).toEqual(['a', 'b'])
    const found = await Promise.all(Array.from({ length: 20 }, (_, seed) => after.crash(seed).exists('unsynced')))
    expect(new Set(found)).toEqual(new Set([true, false]))
    expect(textOf(after.crash(7), 'synced')).toBe('a')
  })

  it('goes on apart from the root before it', async () => {
    const root = new MemoryRoot({ loseUnsynced: 1 })
    root.putSync('one', bytes('a'))
    const after = root.restart()
    root.putSync('one', bytes('late'))
    root.putSync('two', bytes('late'))
    expect(textOf(after, 'one')).toBe('a')
    expect(await after.exists('two')).toBe(false)
  })

  it('corrupts bytes for good', () => {
    const root = new MemoryRoot({ loseUnsynced: 1 })
    root.putSync('one', bytes('abc'))
    root.corrupt('one', 1, bytes('X'))
    expect([textOf(root, 'one'), textOf(root.crash(1), 'one')]).toEqual(['aXc', 'aXc'])
  })
})
