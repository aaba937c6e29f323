// The commit log contract on every log there is.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, it } from 'vitest'

import { type CommitLog, lsn, type Lsn, MemoryLog, MemoryLogDisk, openObjectLog, openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot, MemoryRoot, type Root } from '../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, FP, type World } from '../../bindings/runtime/index.ts'
import { commitLogContract } from '../../bindings/testing/contracts/commit-log.ts'
import type { LogFixture, LogFixtureOptions } from '../../bindings/testing/contracts/log-records.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'
import { FaultyRoot } from '../../bindings/testing/faulty-root.ts'

const STORE_ID = new Uint8Array(16).fill(5)
const CONSTANT: World['random'] = { bytes: (n) => new Uint8Array(n).fill(9), u32: () => 9 }

commitLogContract({ describe, it }, 'memory', async (o = {}) => {
  const world = { ...fakeWorld(), ...(o.sameIds === true ? { random: CONSTANT } : {}) }
  const disk = new MemoryLogDisk()
  const durability = o.durability ?? 'synced'
  let log = await MemoryLog.open({ world, disk, durability })
  const open = async () => (log = await MemoryLog.open({ world, disk, durability }))
  return {
    log,
    reopen: open,
    kill: () => {
      log.kill()
      return open()
    },
    powerCut: (seed) => {
      log.kill()
      disk.crash(seed)
      return open()
    },
  }
})

commitLogContract({ describe, it }, 'segments on fake files', (o = {}) => onFakeFiles(o))

commitLogContract({ describe, it }, 'segments on a memory root', async (o = {}) => {
  const root = new MemoryRoot({})
  const world = (): World => ({ ...defaultWorld(), failpoints: new FailpointRegistry() })
  return onRoot(o, (at) => ({ root, world: at }), world())
})

commitLogContract({ describe, it }, 'segments in a directory', async (o = {}) => {
  const path = await mkdtemp(join(tmpdir(), 'varve-log-'))
  // Two boots in one process: the second life of the store must find the first one dead.
  let boot = 0
  const world = (): World => ({ ...defaultWorld(), failpoints: new FailpointRegistry(), host: { ...defaultWorld().host, bootId: `boot-${boot++}` } })
  const fixture = await onRoot(o, (at) => ({ root: new DirRoot(path, at), world: at }), world(), world)
  return {
    ...fixture,
    dispose: async () => {
      await fixture.dispose?.()
      await rm(path, { recursive: true, force: true })
    },
  }
})

commitLogContract({ describe, it }, 'slots on a memory root, shared', async (o = {}) => onSlots(o, 'shared', () => new MemoryRoot({})))

commitLogContract({ describe, it }, 'slots in a directory, exclusive', async (o = {}) => {
  const path = await mkdtemp(join(tmpdir(), 'varve-slots-'))
  const fixture = await onSlots(o, 'exclusive', (world) => new DirRoot(path, world))
  return {
    ...fixture,
    dispose: async () => {
      await fixture.dispose?.()
      await rm(path, { recursive: true, force: true })
    },
  }
})

commitLogContract({ describe, it }, 'slots on fake files, shared', async (o = {}) => {
  let files = new FakeFiles()
  return onSlots(
    o,
    'shared',
    () => new DirRoot('/data/store', fakeWorld({ files })),
    (seed) => {
      files = seed === undefined ? files.restart() : files.crash(seed)
      return new DirRoot('/data/store', fakeWorld({ files }))
    },
  )
})

/** Slots on one root. `after`: the root as the next process finds it, after a kill or (with a seed) a power cut. */
async function onSlots(
  o: LogFixtureOptions,
  writers: 'shared' | 'exclusive',
  make: (world: World) => Root,
  after?: (seed?: number) => Root,
): Promise<LogFixture> {
  const failpoints = new FailpointRegistry()
  const world: World = { ...defaultWorld(), failpoints, ...(o.sameIds === true ? { random: CONSTANT } : {}) }
  const floors: Floors = []
  const opened: CommitLog[] = []
  let place = make(world)
  let root = new FaultyRoot(place)
  let puts = 0
  const open = async (readOnly = false) => {
    const log = checkpointing(await openObjectLog(root, { world, storeId: STORE_ID, writers, readOnly, floors, tailPollMs: 50 }), floors)
    opened.push(log)
    return log
  }
  // A dead process makes no more requests.
  const stop = () => root.plan(() => ({ wait: () => new Promise(() => {}) }))
  const next = (seed?: number) => {
    stop()
    puts += countPuts(root)
    place = after?.(seed) ?? place
    root = new FaultyRoot(place)
    return open()
  }
  return {
    log: await open(),
    reopen: () => open(),
    kill: () => next(),
    ...(after === undefined ? {} : { powerCut: (seed: number) => next(seed) }),
    reader: () => open(true),
    syncs: () => puts + countPuts(root),
    failpoints,
    points: [FP.log.beforeWrite, FP.log.beforeFloorRead, FP.log.trim, FP.log.afterFloor, FP.log.betweenTombstones, FP.log.beforeClean, FP.log.afterClean],
    dispose: async () => {
      stop()
      for (const log of opened) void log.close().catch(() => {})
    },
  }
}

function countPuts(root: FaultyRoot): number {
  return root.calls.filter(({ method }) => method === 'putIfAbsent').length
}

async function onFakeFiles(o: LogFixtureOptions): Promise<LogFixture> {
  let files = new FakeFiles()
  let seed = 1
  const clock = new FakeClock()
  const floors: Floors = []
  const next = (): World => ({
    ...fakeWorld({ files, seed: seed++, clock, host: { bootId: `boot-${seed}` } }),
    ...(o.sameIds === true ? { random: CONSTANT } : {}),
  })
  const world = next()
  const open = async (at: World, readOnly = false) => {
    const opening = openSegmentLog(new DirRoot('/data/store', at), { ...optionsOf(o), world: at, readOnly, follow: false, floors })
    let opened = false
    opening.then(
      () => (opened = true),
      () => (opened = true),
    )
    while (!opened) await clock.advance(50)
    return checkpointing(await opening, floors)
  }
  let log: CommitLog = await open(world)
  return {
    log,
    failpoints: world.failpoints as FailpointRegistry,
    reopen: async () => (log = await open(next())),
    kill: async () => {
      files = files.restart()
      return (log = await open(next()))
    },
    powerCut: async (cut) => {
      files = files.crash(cut)
      return (log = await open(next()))
    },
    reader: () => open(next(), true),
    syncs: () => files.calls.filter(({ op }) => op === 'datasync').length,
  }
}

async function onRoot(
  o: LogFixtureOptions,
  make: (world: World) => { root: Root; world: World },
  first: World,
  next: () => World = () => first,
): Promise<LogFixture> {
  const random = o.sameIds === true ? { random: CONSTANT } : {}
  const floors: Floors = []
  const open = async (base: World, readOnly = false) => {
    const { root, world } = make({ ...base, ...random })
    return checkpointing(await openSegmentLog(root, { ...optionsOf(o), world, readOnly, floors, openRetry: { delaysMs: [0, 0] } }), floors)
  }
  const opened: CommitLog[] = []
  const track = async (log: Promise<CommitLog>) => {
    opened.push(await log)
    return log
  }
  return {
    log: await track(open(first)),
    reopen: () => track(open(next())),
    // Nothing can be killed here: the handle is parked for ever, its LOCK belongs to another boot.
    kill: () => track(open({ ...next(), host: { ...first.host, bootId: `boot-after-kill-${opened.length}` } })),
    reader: () => track(open(next(), true)),
    dispose: async () => {
      for (const log of opened) await log.close().catch(() => {})
    },
  }
}

function optionsOf(o: LogFixtureOptions) {
  return {
    storeId: STORE_ID,
    durability: o.durability ?? 'synced',
    ...(o.segmentBytes === undefined ? {} : { segmentBytes: o.segmentBytes }),
  } as const
}

type Floors = { lsn: Lsn; digest: Uint8Array }[]

/** A checkpoint before every trim, as the store above keeps one. */
function checkpointing<L extends CommitLog>(log: L, floors: Floors): L {
  const trim = log.trim.bind(log)
  log.trim = async (upTo) => {
    const at = lsn(upTo < log.durableHead ? upTo : log.durableHead)
    if (at >= log.tail) floors.splice(0, floors.length, { lsn: at, digest: await log.digestAt(at) })
    return trim(upTo)
  }
  return log
}
