// Staged writes under "buffered": what a power cut takes of the log must not leave an INTENT that was prepared against lost commits (the store did not open any
// more), nor a sealed write without the files that were removed behind a lost outcome (seeds 20025 and 20026 of the durable-state simulation).

import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { FakeFiles, fakeWorld } from '../../bindings/testing/index.ts'

const things = table('things', { id: t.int32(), n: t.int32() }, { key: ['id'] })

class Machine {
  files = new FakeFiles()
  private pid = 1

  open(): Promise<Store> {
    const world = fakeWorld({ files: this.files, host: { pid: ++this.pid, processStartTime: String(this.pid) } })
    const timers = { ...world.timers, sleep: async () => undefined }
    return Store.open('/data/store', { threads: 0, durability: 'buffered', world: { ...world, timers } })
  }

  /** Nothing survives that was not synced. */
  powerCut(): void {
    this.files = this.files.crash(1, 'none')
  }
}

it('opens when the commits are lost that a staged write was begun behind', async () => {
  const machine = new Machine()
  const store = await machine.open()
  await store.create(things)
  await store.sync()
  await store.upsert(things, { id: 1, n: 1 })
  const write = await store.stage()
  await write.upsert(things, [{ id: 2, n: 2 }])
  machine.powerCut()
  const after = await machine.open()
  expect(await after.pending()).toEqual([])
  expect(await after.get(things, 1)).toEqual({ id: 1, n: 1 })
  expect(await after.get(things, 2)).toBeUndefined()
  await after.close()
})

it.each(['publish', 'rollback'] as const)('a sealed write is whole or decided when the log loses its %s', async (how) => {
  const machine = new Machine()
  const store = await machine.open()
  await store.create(things)
  const write = await store.stage()
  await write.upsert(things, [{ id: 2, n: 2 }])
  await write.delete(things, [3])
  await write.seal()
  await store.sync()
  await write[how]()
  machine.powerCut()
  const after = await machine.open()
  if (how === 'publish') {
    if ((await after.outcome(write.id)) === 'pending') await (await after.resume(write.id)).publish()
    expect(await after.get(things, 2)).toEqual({ id: 2, n: 2 })
  } else {
    if ((await after.outcome(write.id)) === 'pending') await (await after.resume(write.id)).rollback()
    expect(await after.get(things, 2)).toBeUndefined()
  }
  expect((await after.verify({ level: 'all' })).problems).toEqual([])
  await after.close()
})
