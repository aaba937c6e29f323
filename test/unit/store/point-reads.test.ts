// How often a point read asks the root: once the indexes are in memory at most twice for a row whose pages are not, never for a key that is absent.
import { expect, it } from 'vitest'

import { columns, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const rows = table('rows', { id: t.utf8(), at: t.timestamp('ms'), n: t.int32(), origin: t.utf8(), carrier: t.utf8() }, { key: ['id'] })
const ROWS = 3000
const FRAGMENTS = 6
const key = (place: number): string => `user-${String(place).padStart(6, '0')}`

/** Even places, those of a fragment scattered over all of them. */
async function filled(root: MemoryRoot, sorted: boolean): Promise<void> {
  await using store = await Store.open(root, { upkeep: 'manual', threads: 0, inlineLimitBytes: 0 })
  await store.create(rows)
  for (let f = 0; f < FRAGMENTS; f++) {
    const places = Array.from({ length: ROWS }, (_, i) => 2 * (f + FRAGMENTS * (sorted ? i : (i * 1009) % ROWS)))
    await store.append(
      rows,
      columns({
        id: places.map(key),
        at: places.map((place) => new Date(place)),
        n: Int32Array.from(places),
        origin: places.map((place) => `O${place % 7}`),
        carrier: places.map((place) => `C${place % 3}`),
      }),
    )
  }
}

it.each([
  ['sorted', true],
  ['not sorted', false],
] as const)('a row is read with two requests at most, an absent key with none, among six fragments that are %s', async (_, sorted) => {
  const root = new MemoryRoot()
  await filled(root, sorted)
  await using store = await Store.open(root, { upkeep: 'manual', threads: 0, memory: { cacheBytes: 0 } })
  // Indexes and footers.
  for (let place = 0; place < 2 * FRAGMENTS; place++) await store.get(rows, key(place))
  const asked: string[] = []
  const { get } = root
  root.get = async (name, o) => {
    asked.push(name)
    return get.call(root, name, o)
  }
  const counts: number[] = []
  for (let i = 0; i < 300; i++) {
    asked.length = 0
    const place = 2 * ((i * 7919) % (ROWS * FRAGMENTS))
    expect(await store.get(rows, key(place))).toEqual({ id: key(place), at: new Date(place), n: place, origin: `O${place % 7}`, carrier: `C${place % 3}` })
    counts.push(asked.length)
  }
  expect(Math.max(...counts)).toBeLessThanOrEqual(2)
  expect(Math.max(...counts)).toBeGreaterThan(0)
  asked.length = 0
  for (let i = 0; i < 300; i++) expect(await store.has(rows, key(2 * ((i * 7919) % (ROWS * FRAGMENTS)) + 1))).toBe(false)
  expect(asked).toEqual([])
})

it('the first read of a store asks for the indexes at the same time', async () => {
  const root = new MemoryRoot()
  await filled(root, false)
  await using store = await Store.open(root, { upkeep: 'manual', threads: 0 })
  let running = 0
  let most = 0
  const { get } = root
  root.get = async (name, o) => {
    if (name.startsWith('indexes/')) most = Math.max(most, ++running)
    try {
      return await get.call(root, name, o)
    } finally {
      if (name.startsWith('indexes/')) running--
    }
  }
  const place = 2 * FRAGMENTS * 100
  expect(await store.get(rows, key(place))).toMatchObject({ n: place })
  expect(most).toBe(FRAGMENTS)
})
