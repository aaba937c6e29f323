// A folder as a trim left it whose delete had failed: segments that were trimmed lie below a gap. No open took it, and repair offered to drop everything above the gap.
import { describe, expect, it } from 'vitest'

import { CorruptionError, lsn, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../bindings/ship/index.ts'
import { Replica } from '../../bindings/store/index.ts'
import { failure } from '../unit/store/places.ts'

const notes = table('notes', { id: t.int32(), text: t.utf8() }, { key: ['id'] })
const OPTIONS = { threads: 0, upkeep: 'manual', segmentBytes: 64 * 1024 } as const
const KEEP = { keep: { versions: 1 } } as const
const GAP = /the next segment begins at/

const segments = (root: MemoryRoot): string[] => root.namesSync().filter((name) => /^log\/\d{20}\.wal$/.test(name))

async function fill(store: Store, from: number, to: number): Promise<void> {
  for (let id = from; id < to; id++) await store.append(notes, [{ id, text: 'x'.repeat(800) }])
  await store.flush()
}

/** Segments as they are, to be put back. */
async function taken(root: MemoryRoot): Promise<Map<string, Uint8Array>> {
  return new Map(await Promise.all(segments(root).map(async (name) => [name, (await root.get(name)).bytes.slice()] as const)))
}

async function putBack(root: MemoryRoot, gone: ReadonlyMap<string, Uint8Array>, which: readonly number[]): Promise<string[]> {
  const names = [...gone.keys()].filter((name) => !segments(root).includes(name))
  const back = which.map((i) => names.at(i)!)
  for (const name of back) await root.put(name, gone.get(name)!)
  return back
}

const rowsOf = (store: Pick<Store, 'scan'>): Promise<number> => store.scan(notes).count()

interface Left {
  readonly root: MemoryRoot
  readonly left: readonly string[]
  readonly tail: bigint
}

async function leftBehind(which: readonly number[], isInCheckpoint: boolean): Promise<Left> {
  const root = new MemoryRoot({})
  const store = await Store.open(root, OPTIONS)
  await store.create(notes)
  await fill(store, 0, 200)
  await fill(store, 200, 400)
  await fill(store, 400, 600)
  const gone = await taken(root)
  const { tail } = await store.vacuum(KEEP)
  await (isInCheckpoint ? fill(store, 600, 620) : store.append(notes, [{ id: 600, text: '' }]))
  await store.close()
  return { root, left: await putBack(root, gone, which), tail }
}

describe.each([false, true])('segments below a gap that a vacuum left (its record is in the newest checkpoint: %s)', (isInCheckpoint) => {
  const rows = isInCheckpoint ? 620 : 601

  it.each([[[0]], [[0, 2]], [[0, 1, -3]]])('are no part of the log, and go with the next trim: %j', async (which) => {
    const { root, left, tail } = await leftBehind(which, isInCheckpoint)
    const reader = await Store.open(root, { ...OPTIONS, readOnly: true, follow: false })
    expect(await rowsOf(reader)).toBe(rows)
    await reader.close()
    expect(await Store.repair(root)).toMatchObject({ actions: [], problems: [] })
    expect(await Store.repair(root)).not.toHaveProperty('lost')
    const store = await Store.open(root, OPTIONS)
    expect(await rowsOf(store)).toBe(rows)
    expect((await store.stats()).log.tail).toBe(tail)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    expect(segments(root)).toEqual(expect.arrayContaining([...left]))
    await fill(store, 1000, 1200)
    await fill(store, 1200, 1400)
    expect((await store.vacuum(KEEP)).tail).toBeGreaterThan(tail)
    for (const name of left) expect(segments(root)).not.toContain(name)
    await store.close()
    const again = await Store.open(root, OPTIONS)
    expect(await rowsOf(again)).toBe(rows + 400)
    await again.close()
  })

  it('do not make a repair drop more than what is damaged', async () => {
    const { root } = await leftBehind([0], isInCheckpoint)
    const newest = segments(root).at(-1)!
    const bytes = (await root.get(newest)).bytes.slice()
    bytes[bytes.length - 200]! ^= 1
    await root.put(newest, bytes)
    expect(await failure(() => Store.open(root, OPTIONS))).toBeInstanceOf(CorruptionError)
    const { actions, problems, lost } = await Store.repair(root)
    const needs = actions.find(({ kind }) => kind === 'cut-log')?.needs
    if (isInCheckpoint) expect(Number(/\d+$/.exec(needs!)![0])).toBeGreaterThanOrEqual(Number(newest.slice(4, -4)) - 1)
    // The record of the vacuum is among what is damaged: nothing is proposed before the owner has looked.
    else
      expect({ needs, lost, problems }).toMatchObject({
        needs: undefined,
        lost: undefined,
        problems: [{ code: 'log.corrupt', message: expect.stringMatching(GAP) }],
      })
  })
})

it.each(['an older version is kept', 'it is tagged'])(
  'a segment that is missing behind a vacuum is damage where a version below it can be read: %s',
  async (why) => {
    const root = new MemoryRoot({})
    const store = await Store.open(root, OPTIONS)
    await store.create(notes)
    for (let from = 0; from < 600; from += 100) await fill(store, from, from + 100)
    const tagged = why === 'it is tagged'
    if (tagged) await store.tag('then', { at: lsn(250) })
    await store.vacuum({ keep: { versions: tagged ? 1 : 350 } })
    await fill(store, 600, 700)
    await store.close()
    const [first, second] = segments(root)
    expect(Number(first!.slice(4, -4))).toBeGreaterThan(1)
    await root.delete(second!)
    for (const readOnly of [true, false]) expect(String(await failure(() => Store.open(root, { ...OPTIONS, readOnly })))).toMatch(GAP)
    const { actions, problems, lost } = await Store.repair(root)
    expect({ actions, lost }).toEqual({ actions: [], lost: undefined })
    expect(problems).toMatchObject([{ code: 'log.corrupt', advice: expect.stringMatching(/^Restore what is missing/) }])
  },
)

it('a segment that is missing in a store without a vacuum is damage, below its checkpoints too', async () => {
  const root = new MemoryRoot({})
  const store = await Store.open(root, OPTIONS)
  await store.create(notes)
  await fill(store, 0, 200)
  await fill(store, 200, 400)
  await store.close()
  await root.delete(segments(root)[1]!)
  for (const readOnly of [true, false]) expect(String(await failure(() => Store.open(root, { ...OPTIONS, readOnly })))).toMatch(GAP)
})

it('a replica opens with segments below a gap, and follows', async () => {
  const network = new MemoryNetwork(defaultWorld(), { asBytes: true })
  const store = await Store.open(new MemoryRoot({}), OPTIONS)
  await store.create(notes)
  const root = new MemoryRoot({})
  const open = (): Promise<Replica> =>
    Replica.open(root, {
      replicaId: 'r1',
      endpoint: { data: 'r1', version: 1 },
      transport: network.transport('r1'),
      segmentBytes: 64 * 1024,
      checkpointBytes: 64 * 1024,
    })
  let replica = await open()
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: { data: 'r1', version: 1 } }], transport: network.transport('p') })
  let gone = new Map<string, Uint8Array>()
  for (let round = 0; round < 6; round++) {
    await fill(store, round * 200, round * 200 + 200)
    await shipping.settled()
    gone = new Map([...gone, ...(await taken(root))])
    await store.vacuum(KEEP)
  }
  await shipping.settled()
  await replica.close()
  const left = await putBack(root, gone, [0, 2])
  expect(left).toHaveLength(2)
  replica = await open()
  await fill(store, 2000, 2100)
  await shipping.settled()
  expect(replica.status().durable).toBe(store.lsn)
  await replica.store.refresh()
  expect(await rowsOf(replica.store)).toBe(1300)
  await shipping.close()
  await replica.close()
  await store.close()
})
