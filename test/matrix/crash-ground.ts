// Where a store of the crash matrix lives, and the processes that open it.
//
//   segments   log of segments on a directory of FakeFiles: one writer, a kill loses nothing, a power cut what was not synced (by seed)
//   slots      shared log on such a directory: other writers on the same host, which see at once that a process is gone
//   memory     shared log on a MemoryRoot
//   object     shared log on a root that can do no more than an object store; writers on hosts of their own: only a LEASE tells that one lives
//
// Invariant: a process sees the ground only through a FaultyRoot with its own failpoints, so that nothing of it goes on once it is dead.
import '../loaded.ts'
import type { OpenOptions, ReadStore, Store } from '../../bindings/index.ts'
import { Store as Stores } from '../../bindings/index.ts'
import { DirRoot, MemoryRoot, type Root, type RootCaps } from '../../bindings/root/index.ts'
import { type FailpointName, FailpointRegistry, failpoints, FakeFiles, FaultyRoot } from '../../bindings/testing/index.ts'
import { type SimWorld, simWorld } from '../sim/sim-world.ts'

export const LAYOUTS = ['segments', 'slots', 'memory', 'object'] as const
export type Layout = (typeof LAYOUTS)[number]

const FOLDER = '/data/store'

export interface Ground {
  readonly layout: Layout
  /** A copy, with everything durable. */
  fork(): Promise<Ground>
  /** What a power cut leaves; this one is dead. */
  cut(seed: number): Ground
  /** What the death of every process leaves; this one is dead. */
  killed(): Ground
  world(seed: number, host: NonNullable<Parameters<typeof simWorld>[0]['host']>): SimWorld
  root(world: SimWorld['world']): Root
}

export function newGround(layout: Layout): Ground {
  return layout === 'segments' || layout === 'slots' ? new Disk(layout, new FakeFiles()) : new Memory(layout, new MemoryRoot({ loseUnsynced: 1 }))
}

export const isShared = (layout: Layout): boolean => layout !== 'segments'

class Disk implements Ground {
  readonly layout: Layout
  private readonly files: FakeFiles

  constructor(layout: Layout, files: FakeFiles) {
    this.layout = layout
    this.files = files
  }

  async fork(): Promise<Ground> {
    return new Disk(this.layout, this.files.image(1, 'all'))
  }

  cut(seed: number): Ground {
    return new Disk(this.layout, this.files.crash(seed))
  }

  killed(): Ground {
    return new Disk(this.layout, this.files.restart())
  }

  world(seed: number, host: NonNullable<Parameters<typeof simWorld>[0]['host']>): SimWorld {
    return simWorld({ seed, files: this.files, host })
  }

  root(world: SimWorld['world']): Root {
    return new DirRoot(FOLDER, world)
  }
}

class Memory implements Ground {
  readonly layout: Layout
  private readonly memory: MemoryRoot

  constructor(layout: Layout, memory: MemoryRoot) {
    this.layout = layout
    this.memory = memory
  }

  async fork(): Promise<Ground> {
    const copy = new MemoryRoot({ loseUnsynced: 1 })
    for await (const { name } of this.memory.list('')) await copy.put(name, (await this.memory.get(name)).bytes)
    return new Memory(this.layout, copy)
  }

  cut(seed: number): Ground {
    // What an object store has answered for is durable.
    return this.layout === 'object' ? this : new Memory(this.layout, this.memory.crash(seed))
  }

  killed(): Ground {
    return this
  }

  world(seed: number, host: NonNullable<Parameters<typeof simWorld>[0]['host']>): SimWorld {
    return simWorld({ seed, host })
  }

  root(): Root {
    return this.layout === 'object' ? new ObjectRoot(this.memory) : this.memory
  }
}

/** A MemoryRoot by the rules of an object store. */
class ObjectRoot extends FaultyRoot {
  override get caps(): RootCaps {
    return { ...super.caps, hardLink: false, segments: false, syncRead: false, syncDir: false }
  }
}

/** One process with one store in it, or none yet. */
export class Process {
  readonly sim: SimWorld
  readonly points: FailpointRegistry
  readonly root: FaultyRoot
  store!: Store
  private readonly ground: Ground
  private readonly alive: Set<number>
  private readonly pid: number
  private readonly options: OpenOptions

  /** @param alive  pids of the processes on this host */
  constructor(ground: Ground, pid: number, seed: number, alive: Set<number>, options: OpenOptions = {}) {
    this.ground = ground
    this.pid = pid
    this.alive = alive
    this.options = options
    const host = ground.layout === 'object' ? { name: `host-${pid}` } : {}
    alive.add(pid)
    this.sim = ground.world(seed, { ...host, pid, processStartTime: String(pid), isAlive: (other) => alive.has(other) })
    this.points = failpoints(this.sim.world)
    this.root = new FaultyRoot(ground.root(this.sim.world), { failpoints: this.points })
  }

  async open(o: OpenOptions = {}): Promise<Store> {
    this.store = await Stores.open(this.root, this.optionsOf(o))
    return this.store
  }

  openReadOnly(): Promise<ReadStore> {
    return Stores.open(this.root, { ...this.optionsOf({}), readOnly: true })
  }

  private optionsOf(o: OpenOptions): OpenOptions {
    return {
      world: this.sim.world,
      threads: 0,
      upkeep: 'manual',
      follow: false,
      inlineLimitBytes: 512,
      segmentBytes: 64 * 1024,
      ...(isShared(this.ground.layout) ? { writers: 'shared' as const } : {}),
      ...this.options,
      ...o,
    }
  }

  /** No instruction of it is executed any more. */
  kill(): void {
    this.points.crash()
    this.alive.delete(this.pid)
  }

  /** It has ended by itself. */
  gone(): void {
    this.alive.delete(this.pid)
  }
}

/** What a run passes: how often it arrives at each point, and which points surround an effect. */
export interface Passed {
  readonly arrivals: Map<FailpointName, number>
  readonly wraps: Set<FailpointName>
}

/** From now on. A question (`enabled`) is no arrival: nothing can go wrong there. */
export function notePassed(points: FailpointRegistry): Passed {
  const passed: Passed = { arrivals: new Map(), wraps: new Set() }
  const { hit, hitSync, around, aroundSync } = points
  const note = (name: FailpointName, wraps: boolean): void => {
    passed.arrivals.set(name, (passed.arrivals.get(name) ?? 0) + 1)
    if (wraps) passed.wraps.add(name)
  }
  points.count()
  points.hit = (name, context) => (note(name, false), hit.call(points, name, context))
  points.hitSync = (name, context) => (note(name, false), hitSync.call(points, name, context))
  points.around = (name, context, effect) => (note(name, true), around.call(points, name, context, effect) as ReturnType<typeof effect>)
  points.aroundSync = (name, context, effect) => (note(name, true), aroundSync.call(points, name, context, effect) as ReturnType<typeof effect>)
  return passed
}
