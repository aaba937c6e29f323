// A power cut tore the footer that a recovery was writing behind a whole tail; the next recovery took those bytes for torn records and left a copy in quarantine/
// that one recovery alone would not have left (seed 101015 of the durable-state simulation).

import { expect, it } from 'vitest'

import { FOOTER_BYTES } from '../../bindings/format/index.ts'
import { Store, t, table } from '../../bindings/index.ts'
import { CRASH_MODEL } from '../../bindings/root/index.ts'
import { FakeFiles, fakeWorld } from '../../bindings/testing/index.ts'

const things = table('things', { id: t.int32() }, { key: ['id'] })

it('leaves no copy of a footer that a crash of the recovery tore', async () => {
  let files = new FakeFiles()
  let pid = 1
  const open = (): Promise<Store> => {
    const world = fakeWorld({ files, host: { pid: ++pid, processStartTime: String(pid) } })
    return Store.open('/data/store', { threads: 0, world: { ...world, timers: { ...world.timers, sleep: async () => undefined } } })
  }
  const store = await open()
  await store.create(things)
  await store.upsert(things, { id: 1 })
  files = files.crash(1, 'all')
  const trace = files.record()
  await open()
  trace.stop()
  const footer = trace.ops.findIndex((op) => op.op === 'write' && op.bytes.length === FOOTER_BYTES)
  expect(footer).toBeGreaterThan(0)
  for (let lost = 1; lost < 1 << 7; lost += 2) {
    let piece = 0
    files = trace.at(footer + 1).cut(({ kind }) => kind !== 'data' || ((lost >> piece++) & 1) === 0, { ...CRASH_MODEL, unitBytes: 16 })
    const again = await open()
    expect((await again.get(things, 1))?.id).toBe(1)
    expect(files.paths().filter((path) => path.includes('quarantine'))).toEqual([])
    await again.close()
  }
})
