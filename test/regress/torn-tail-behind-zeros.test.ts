// A power cut kept the end of a group and not its first sector. The scan stopped at zeros, so the recovery took no copy; then a cut tore the footer it was writing
// in front of that end, and the next recovery stopped at a checksum and copied what one recovery alone would not have (seed 200067 of the durable-state simulation).

import { expect, it } from 'vitest'

import { FOOTER_BYTES } from '../../bindings/format/index.ts'
import { Store, t, table } from '../../bindings/index.ts'
import { CRASH_MODEL, type DiskOp } from '../../bindings/root/index.ts'
import { FakeFiles, fakeWorld } from '../../bindings/testing/index.ts'

const things = table('things', { id: t.int32(), name: t.utf8() }, { key: ['id'] })
const UNITS_16 = { ...CRASH_MODEL, unitBytes: 16 }

/** What lies in quarantine/: names and bytes. */
function copies(files: FakeFiles): string[] {
  return files
    .paths()
    .filter((path) => path.includes('/quarantine/'))
    .map((path) => `${path} ${Buffer.from(files.contents(path)!).toString('hex')}`)
}

it('copies the end of a group whose beginning is zeros aside, the same after two recoveries as after one', async () => {
  let pid = 1
  const open = (files: FakeFiles): Promise<Store> => {
    const world = fakeWorld({ files, host: { pid: ++pid, processStartTime: String(pid) } })
    return Store.open('/data/store', { threads: 0, world: { ...world, timers: { ...world.timers, sleep: async () => undefined } } })
  }
  const files = new FakeFiles()
  const store = await open(files)
  await store.create(things)
  await store.upsert(things, { id: 1, name: 'kept' })
  const writing = files.record()
  await store.upsert(things, { id: 2, name: 'x'.repeat(200) })
  writing.stop()
  const group = writing.ops.findIndex((op) => op.op === 'write' && op.bytes.length > 200)
  expect(group).toBeGreaterThanOrEqual(0)
  let unit = 0
  const torn = writing.at(group + 1).cut(({ kind }) => kind !== 'data' || unit++ >= 8, UNITS_16)

  const recovering = torn.record()
  await (await open(torn)).close()
  recovering.stop()
  const once = copies(torn)
  expect(once, 'its end is kept').toHaveLength(1)
  const footer = recovering.ops.findIndex((op: DiskOp) => op.op === 'write' && op.bytes.length === FOOTER_BYTES)
  expect(footer).toBeGreaterThan(0)
  for (let kept = 0; kept < 1 << (FOOTER_BYTES / 16); kept++) {
    let piece = 0
    const again = recovering.at(footer + 1).cut(({ kind }) => kind !== 'data' || ((kept >> piece++) & 1) === 1, UNITS_16)
    const opened = await open(again)
    expect(await opened.get(things, 1)).toMatchObject({ name: 'kept' })
    expect(await opened.get(things, 2)).toBeUndefined()
    await opened.close()
    expect(copies(again), `units ${kept.toString(2)} of the footer`).toEqual(once)
  }
})
