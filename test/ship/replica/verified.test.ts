// What of a base a replica reads again, and what it believes (docs/decisions/0028-verified-files.md); and what a heartbeat promises while a base or a truncation is due.
import { describe, expect, it } from 'vitest'

import { digestInName } from '../../../bindings/format/index.ts'
import { StorageError } from '../../../bindings/errors.ts'
import { DirRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld, type World } from '../../../bindings/runtime/index.ts'
import { type Manifest, MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { baseOf, bootWorld, fill, filled, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rowsOf, tempDirectory, turns } from './kit.ts'

const DAY_MS = 24 * 3600 * 1000
const isContent = (name: string): boolean => digestInName(name) !== undefined

interface Watched {
  readonly root: Root
  readonly reads: string[]
  /** Of files that nobody has written, whatever has become of their bytes. */
  readonly tags: Map<string, string>
  /** Files that cannot be read until they are written anew. */
  readonly broken: Broken
}

class Broken extends Set<string> {
  why: 'io' | 'permission' = 'io'
}

/** A root that tells which files were read through it. */
function watched(root: Root): Watched {
  const reads: string[] = []
  const tags = new Map<string, string>()
  const broken = new Broken()
  const head: Root['head'] = async (name) => {
    const found = await root.head(name)
    return found === undefined ? undefined : { ...found, tag: tags.get(name) ?? found.tag }
  }
  const put: Root['put'] = (name, bytes, o) => {
    tags.delete(name)
    broken.delete(name)
    return root.put(name, bytes, o)
  }
  const get: Root['get'] = (name, o) => {
    reads.push(name)
    return broken.has(name)
      ? Promise.reject(new StorageError(`get ${name}: ${broken.why}`, { details: { op: 'get', name, class: broken.why } }))
      : root.get(name, o)
  }
  const proxy = new Proxy(root, {
    get(target, key) {
      if (key === 'get') return get
      if (key === 'head') return head
      if (key === 'put') return put
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
  return { root: proxy, reads, tags, broken }
}

interface Away {
  readonly network: MemoryNetwork
  readonly primary: Primary
  readonly disk: Root
  readonly reads: string[]
  readonly tags: Map<string, string>
  readonly broken: Broken
  replica: Replica
  /** Files that both have. */
  readonly shared: readonly string[]
  /** Of a base that begins where the replica's log does not reach. */
  readonly beyond: Manifest
}

/** A replica that has files, and a primary that went on. */
async function away(disk: Root, world: World = bootWorld()): Promise<Away> {
  const { network, primary } = await filled(0)
  for (let i = 0; i < 4; i++) {
    await fill(primary.store, i * 100, i * 100 + 60)
    await primary.store.flush()
  }
  const { root, reads, tags, broken } = watched(disk)
  const replica = await replicaOn(network, root, { world })
  await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
  const shared: string[] = []
  for (const prefix of ['fragments/', 'indexes/']) for await (const { name } of disk.list(prefix)) shared.push(name)
  expect(shared.length).toBeGreaterThanOrEqual(4)
  await fill(primary.store, 1000, 1060)
  await primary.store.flush()
  await fill(primary.store, 2000, 2003)
  const beyond = await baseOf(primary)
  expect(beyond.logFrom).toBeGreaterThan(Number(replica.status().durable))
  expect(beyond.files.map(({ name }) => name)).toEqual(expect.arrayContaining(shared))
  reads.length = 0
  return { network, primary, disk, reads, tags, broken, replica, shared, beyond }
}

/** @returns files that were asked for, over the whole of the transfer */
async function rebuild({ network, primary, replica }: Away, manifest: Manifest, session: number): Promise<string[]> {
  const sender = await RawSender.connect(network, replica, primary, { session })
  await sender.rebuild(manifest)
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await replica.ready()
  await replica.store.refresh()
  return sender.files.filter(isContent)
}

async function isEqual({ replica, primary }: Away): Promise<void> {
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
}

/** Bits turn over, also where pages are: nothing but the bytes changes. */
function rot(disk: MemoryRoot, name: string): void {
  const { bytes } = disk.getSync(name)
  for (let at = 64; at < bytes.length; at += 64) disk.corrupt(name, at, Uint8Array.of(bytes[at]! ^ 4))
}

/** Its clock can be set. */
function clockedWorld(): { readonly world: World; pass(ms: number): void } {
  const base = bootWorld()
  let passed = 0
  return { world: { ...base, clock: { ...base.clock, nowMs: () => base.clock.nowMs() + passed } as World['clock'] }, pass: (ms) => (passed += ms) }
}

describe.each([
  ['memory', () => new MemoryRoot({})],
  ['directory', () => new DirRoot(tempDirectory(), defaultWorld())],
] as [string, () => Root][])('files that came lately, on a %s root', (_, place) => {
  it('B12 are not read again for a base that begins beyond the log of the replica', async () => {
    const given = await away(place())
    const before = new Set(given.shared)
    const asked = await rebuild(given, given.beyond, 2)
    expect(asked.filter((name) => before.has(name))).toEqual([])
    // Up to the switch: from there on readers read.
    expect(given.reads.filter((name) => before.has(name))).toEqual([])
    await isEqual(given)
  })

  it('B11 are known after a restart too; after a kill they are read, and not sent', async () => {
    const given = await away(place())
    await given.replica.close()
    for (const isKilled of [false, true]) {
      const { root, reads } = watched(given.disk)
      if (isKilled) await given.disk.delete('staging/base/verified')
      const replica = await replicaOn(given.network, root, { endpoint: { data: `again ${isKilled}`, version: 1 } })
      const sender = await RawSender.connect(given.network, replica, given.primary, { session: isKilled ? 3 : 2 })
      await sender.hello({ kind: 'rebuild' })
      reads.length = 0
      const asked = await sender.transfer(given.beyond)
      expect(asked.filter((name) => given.shared.includes(name))).toEqual([])
      expect(new Set(reads.filter((name) => given.shared.includes(name)))).toEqual(new Set(isKilled ? given.shared : []))
      await sender.close()
      await replica.close()
    }
  })

  it('are read when they were written since, or when a day has passed', async () => {
    const { world, pass } = clockedWorld()
    const given = await away(place(), world)
    const [written] = given.shared
    const { bytes } = await given.disk.get(written!)
    await given.disk.put(written!, bytes.with(9, bytes[9]! ^ 1))
    const sender = await RawSender.connect(given.network, given.replica, given.primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    await sender.transfer(given.beyond)
    expect(new Set(given.reads.filter((name) => given.shared.includes(name)))).toEqual(new Set([written]))
    expect(sender.files).toContain(written)
    given.reads.length = 0
    pass(DAY_MS + 60_000)
    const asked = await rebuild(given, given.beyond, 3)
    expect(asked).toEqual([])
    expect(given.reads).toEqual(expect.arrayContaining([...given.shared]))
    await isEqual(given)
  })
})

describe('a rebuild of a replica that has the log of its base', () => {
  /** Its log reaches beyond where the base begins: something else may be wrong with it. */
  async function doubted(): Promise<Away> {
    const given = await away(new MemoryRoot({}))
    await (await RawSender.connect(given.network, given.replica, given.primary, { session: 2 })).catchUp(given.replica)
    given.reads.length = 0
    return given
  }

  /** What it reads of its files for a base whose sender then goes without a word. */
  async function cutOff({ network, replica, primary, reads, beyond }: Away, session: number, serves: boolean): Promise<Set<string>> {
    reads.length = 0
    const sender = await RawSender.connect(network, replica, primary, { session, serves })
    await sender.hello({ kind: 'rebuild' })
    await sender.manifest(beyond)
    await sender.next('want', ({ lsn }) => lsn === 0)
    if (serves) await sender.entries(beyond.logFrom, beyond.baseLsn, { base: true })
    if (serves) await sender.next('want', ({ lsn, files }) => lsn === 0 && files.length === 0)
    else await turns()
    await sender.close()
    await turns()
    return new Set(reads.filter(isContent))
  }

  it('goes on behind what an earlier session of it has read, after a restart too; the next one reads everything', async () => {
    const given = await doubted()
    const every = new Set(given.beyond.files.map(({ name }) => name).filter(isContent))
    expect(await cutOff(given, 3, false)).toEqual(every)
    expect(await cutOff(given, 4, true)).toEqual(new Set())
    await given.replica.close()
    given.replica = await replicaOn(given.network, watched(given.disk).root, { endpoint: { data: 'again', version: 1 } })
    expect(await cutOff(given, 5, true)).toEqual(new Set())
    expect(await rebuild(given, given.beyond, 6)).toEqual([])
    const { root, reads } = watched(given.disk)
    await given.replica.close()
    given.replica = await replicaOn(given.network, root, { endpoint: { data: 'and again', version: 1 } })
    expect(await cutOff({ ...given, reads }, 7, true)).toEqual(every)
    await isEqual(given)
  })

  it('that was given up reads everything when another is begun', async () => {
    const given = await doubted()
    const every = await cutOff(given, 3, true)
    expect(every.size).toBeGreaterThan(3)
    // By the log after all.
    await (await RawSender.connect(given.network, given.replica, given.primary, { session: 4 })).catchUp(given.replica)
    expect(await cutOff(given, 5, true)).toEqual(every)
  })

  it('asks for a file that the disk does not give back, and puts it in its place', async () => {
    const given = await doubted()
    const [unreadable] = given.shared
    given.broken.add(unreadable!)
    expect(await rebuild(given, given.beyond, 3)).toEqual([unreadable])
    given.broken.clear()
    await isEqual(given)
  })

  it('ends with the error of a disk that fails otherwise', async () => {
    const given = await doubted()
    given.broken.add(given.shared[0]!)
    given.broken.why = 'permission'
    const sender = await RawSender.connect(given.network, given.replica, given.primary, { session: 3 })
    await sender.hello({ kind: 'rebuild' })
    await sender.manifest(given.beyond)
    expect(await sender.refusal()).toMatchObject({ message: expect.stringMatching(/permission/) })
  })
})

describe('I16 a file in which bits have turned over', () => {
  async function rotten(): Promise<Away & { readonly name: string }> {
    const disk = new MemoryRoot({})
    const given = await away(disk)
    const name = given.shared.find((each) => each.startsWith('fragments/'))!
    given.tags.set(name, (await disk.head(name))!.tag)
    rot(disk, name)
    return { ...given, name }
  }

  it('is asked for by a base that a replica did not need for its log', async () => {
    const given = await rotten()
    const { network, primary, replica, name } = given
    // It has all of the log: why it is rebuilt is another reason.
    await (await RawSender.connect(network, replica, primary, { session: 2 })).catchUp(replica)
    expect(await rebuild(given, given.beyond, 3)).toEqual([name])
    await isEqual(given)
  })

  it('is asked for once verify() has found it', async () => {
    const given = await rotten()
    expect((await given.replica.store.verify()).problems.map(({ file }) => file)).toEqual([given.name])
    const asked = await rebuild(given, given.beyond, 2)
    expect(asked).toContain(given.name)
    expect(asked.filter((name) => given.shared.includes(name))).toEqual([given.name])
    await isEqual(given)
  })

  it('is asked for when the log was found damaged as well, also after a restart', async () => {
    const given = await rotten()
    const { network, primary } = given
    for await (const { name } of given.disk.list('log/')) {
      const { bytes } = await given.disk.get(name)
      const at = bytes.findLastIndex((byte) => byte !== 0)
      if (at > 4096) (given.disk as MemoryRoot).corrupt(name, at >> 1, Uint8Array.of(bytes[at >> 1]! ^ 1))
    }
    const sender = await RawSender.connect(network, given.replica, primary, { session: 2 })
    await sender.hello()
    await sender.send({ type: 'verifySelf', upTo: Number(given.replica.status().durable) })
    expect((await sender.next('verified')).ok).toBe(false)
    expect(await given.disk.exists('staging/base/verified')).toBe(false)
    const asked = await rebuild(given, given.beyond, 3)
    expect(asked.filter((name) => given.shared.includes(name))).toEqual([given.name])
    await isEqual(given)
  })

  it('that was installed is not served as good, and the next base brings it', async () => {
    const given = await rotten()
    expect(await rebuild(given, given.beyond, 2)).not.toContain(given.name)
    await expect(rowsOf(given.replica.store)).rejects.toMatchObject({ code: 'fragment.corrupt' })
    expect(await rebuild(given, given.beyond, 3)).toEqual([given.name])
    await isEqual(given)
  })
})

describe('a heartbeat', () => {
  it('promises nothing to a replica whose base is on its way: the install goes on', async () => {
    const given = await away(new MemoryRoot({}))
    const { network, primary, replica, beyond } = given
    const sender = await RawSender.connect(network, replica, primary, { session: 2 })
    await sender.hello({ kind: 'rebuild' })
    const { committed } = replica.status()
    await sender.send({ type: 'heartbeat', committedLsn: beyond.baseLsn + 1, durableLsn: beyond.baseLsn + 1 })
    await sender.transfer(beyond)
    await sender.send({ type: 'heartbeat', committedLsn: beyond.baseLsn + 1, durableLsn: beyond.baseLsn + 1 })
    expect(replica.status().committed).toBe(committed)
    expect(await sender.install(beyond)).toBe(beyond.baseLsn)
    await sender.grant(beyond.baseLsn, { committedLsn: beyond.baseLsn })
    await replica.ready()
    await replica.store.refresh()
    await isEqual(given)
  })

  it('promises nothing before a truncation: what is to be cut off is cut off', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    await fill(primary.store, 0, 40)
    const replica = await replicaOn(network)
    const head = Number(primary.store.lsn)
    const first = await RawSender.connect(network, replica, primary, { session: 1 })
    await first.hello()
    await first.grant(0, { committedLsn: 20 })
    await first.entries(0, head, { committedLsn: 20 })
    await first.durable(head)
    const next = await RawSender.connect(network, replica, primary, { epoch: 2, session: 1 })
    await next.hello()
    await next.send({ type: 'heartbeat', committedLsn: head + 5, durableLsn: head + 5 })
    await next.send({ type: 'truncate', lsn: 30 })
    expect((await next.next('truncated')).lsn).toBe(30)
    expect(replica.status()).toMatchObject({ durable: 30n, committed: 20n })
  })
})
