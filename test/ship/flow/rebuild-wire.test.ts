// Rebuilds over TCP whose connection breaks, and does not come back at once; and what lies on the replica by accident (shipping.md section 8).
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'

import { replicaId } from '../../../bindings/ship/index.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { openProxy, type Proxy } from '../proxy.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

const SMALL = { segmentBytes: 64 * 1024, upkeep: 'manual' } as const
const R1 = replicaId('r1')
const CHUNK_BYTES = 256 * 1024

interface Stage {
  readonly flow: Flow
  readonly proxy: Proxy
  readonly primary: string
  readonly copy: string
}

/** A replica on disk that has the first commits; a primary whose log begins behind them; a proxy between the two. */
async function staged(): Promise<Stage> {
  const [primary, copy] = [tempDirectory(), tempDirectory()]
  const flow = await Flow.open(WAYS.find(({ name }) => name === 'tcp')!.make(), primary, SMALL)
  const replica = await flow.replica('r1', copy)
  const proxy = await openProxy(replica.endpoint.data)
  onTestFinished(() => proxy.close())
  await flow.write(50)
  await flow.ship()
  await flow.equal()
  await flow.shipping!.close()
  for (let i = 0; i < 30; i++) {
    await flow.bulk(3000)
    await flow.store.flush()
  }
  const end = flow.store.lsn
  for (let checkpoint = 0; checkpoint < 3; checkpoint++) {
    await flow.write(1000)
    await flow.store.flush()
    await flow.store.close()
    await flow.reopen()
  }
  expect((await flow.store.vacuum({ keep: { versions: 1 } })).tail).toBeGreaterThan(end)
  return { flow, proxy, primary, copy }
}

/** Length by name. */
function files(root: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const folder of ['fragments', 'indexes'].filter((each) => existsSync(join(root, each)))) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      if (entry.isFile() && !entry.name.includes('.tmp')) found.set(path.slice(root.length + 1), statSync(path).size)
    }
  }
  return found
}

async function rowsOf(flow: Flow): Promise<string> {
  const rows = await flow.replicas.get('r1')!.store.scan(people).toArray()
  return rows
    .map(({ id, name }) => `${id} ${name}`)
    .sort()
    .join()
}

async function arrived({ flow, proxy }: Stage): Promise<{ fragmentsSent: number; fragmentsReused: number; bytes: number }> {
  const { shipping, store } = flow
  await shipping!.settled({ signal: AbortSignal.timeout(20_000) })
  await until(() => flow.replicas.get('r1')!.status().lsn === store.lsn)
  expect(await flow.replicas.get('r1')!.store.verify({ against: flow.place })).toMatchObject({ ok: true })
  expect(proxy.open).toBe(1)
  const done = shipping!.log.eventsFor(R1).findLast(({ event }) => event === 'exec_rebuild_completed')
  return done!.fields as never
}

it('B9, B11 over TCP: the stream breaks off amid a base, then nobody answers: the old state is read, no pin is left; then only what is missing is sent', async () => {
  const stage = await staged()
  const { flow, proxy, primary, copy } = stage
  const before = await rowsOf(flow)
  const all = files(primary)
  const bytes = [...all.values()].reduce((sum, each) => sum + each, 0)
  const shipping = await flow.store.ship({ replicas: [{ id: 'r1', endpoint: proxy.address }], transport: flow.net.transport('primary') })
  flow.shipping = shipping
  await until(() => proxy.passedBytes > bytes / 2)
  proxy.refuse = true
  proxy.cut()
  const told = (event: string): string[] =>
    shipping.log
      .eventsFor(R1)
      .filter((each) => each.event === event)
      .map(({ detail }) => detail)
  await until(() => told('session_failed').length > 2 && !flow.replicas.get('r1')!.status().connected)
  // The first session found that a base is needed.
  expect(
    told('session_failed')
      .slice(1)
      .every((detail) => /^(transfer|connect)_failed/.test(detail)),
  ).toBe(true)
  expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild' })
  expect(['ship.transport', 'ship.truncated-frame']).toContain((shipping.status().replicas[0]!.lastError as Error & { code?: string }).code)
  expect(await flow.store.pins()).toEqual([])
  expect(flow.replicas.get('r1')!.status().generation).toBe(0)
  expect(await rowsOf(flow)).toBe(before)
  const there = files(copy)
  const missing = [...all].filter(([name, size]) => there.get(name) !== size)
  expect(missing.length).toBeGreaterThan(0)
  expect(missing.length).toBeLessThan(all.size)
  const passed = proxy.passedBytes
  proxy.refuse = false
  const { fragmentsSent, fragmentsReused } = await arrived(stage)
  expect(fragmentsSent).toBeLessThanOrEqual(missing.length + 1)
  expect(fragmentsReused).toBeGreaterThanOrEqual(all.size - missing.length)
  const missingBytes = missing.reduce((sum, [, size]) => sum + size, 0)
  expect(proxy.passedBytes - passed).toBeLessThanOrEqual(missingBytes + CHUNK_BYTES)
})

it('B11 half a file, a file that another hand has put there, and one that it has damaged: the first and the last are sent', async () => {
  const stage = await staged()
  const { flow, proxy, primary, copy } = stage
  const names = [...files(primary)].filter(([name, size]) => name.startsWith('fragments/') && size > 1000).map(([name]) => name)
  const put = (name: string, of: (bytes: Buffer) => Uint8Array): void => {
    mkdirSync(dirname(join(copy, name)), { recursive: true })
    writeFileSync(join(copy, name), of(readFileSync(join(primary, name))))
  }
  const [half, whole, damaged] = names
  put(half!, (bytes) => bytes.subarray(0, bytes.length >> 1))
  put(whole!, (bytes) => bytes)
  put(damaged!, (bytes) => bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1))
  const held = statSync(join(copy, whole!)).ino
  flow.shipping = await flow.store.ship({ replicas: [{ id: 'r1', endpoint: proxy.address }], transport: flow.net.transport('primary') })
  await arrived(stage)
  for (const name of [half!, damaged!]) expect(readFileSync(join(copy, name)).equals(readFileSync(join(primary, name)))).toBe(true)
  expect(statSync(join(copy, whole!)).ino).toBe(held)
})
