// store/metering.ts: the caller's Meter behind a wall, and what it is told: names of api.md section 8, numbers only.
//
// Bytes and syncs are seen at the root, which is only wrapped when there is a meter; cache counters are told as differences, with each group and at close.
// Invariant: a meter that throws is logged once and harms nothing.

import type { Root, SegmentFile } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import type { ColumnCache, Meter } from '../table/index.ts'

type Name = `varve.${string}`

export class Metering {
  private readonly meter: Meter | undefined
  private readonly world: World
  private readonly told = new Map<Name, number>()
  private failed = false

  constructor(meter: Meter | undefined, world: World) {
    this.meter = meter
    this.world = world
  }

  /** Look before making a value that nobody wants. */
  get isOn(): boolean {
    return this.meter !== undefined
  }

  add(name: Name, value: number, attributes?: Record<string, string>): void {
    this.tell('add', name, value, attributes)
  }

  record(name: Name, value: number, attributes?: Record<string, string>): void {
    this.tell('record', name, value, attributes)
  }

  /** What has come together since the last look. */
  settle(cache: ColumnCache, kernelBytes: number): void {
    if (this.meter === undefined) return
    this.since('varve.cache.hits', cache.hits)
    this.since('varve.cache.misses', cache.misses)
    this.since('varve.bloom.skips', cache.filterSkips)
    if (this.told.get('varve.kernel.bytes') === kernelBytes) return
    this.told.set('varve.kernel.bytes', kernelBytes)
    this.record('varve.kernel.bytes', kernelBytes)
  }

  private since(name: Name, total: number): void {
    const more = total - (this.told.get(name) ?? 0)
    if (more === 0) return
    this.told.set(name, total)
    this.add(name, more)
  }

  private tell(call: 'add' | 'record', name: Name, value: number, attributes: Record<string, string> | undefined): void {
    if (this.meter === undefined) return
    try {
      if (attributes === undefined) this.meter[call](name, value)
      else this.meter[call](name, value, attributes)
    } catch (cause) {
      if (!this.failed) this.world.logger.log({ level: 'error', code: 'meter.failed', name, cause })
      this.failed = true
    }
  }
}

/** The same root, with its reads, log writes and log syncs told to the meter. */
export function meteredRoot(root: Root, metering: Metering, world: World): Root {
  if (!metering.isOn) return root
  const own: Partial<Root> = {
    get: async (name, o) => {
      const found = await root.get(name, o)
      metering.add('varve.read.bytes', found.bytes.length)
      return found
    },
    getSync: (name, o) => {
      const found = root.getSync(name, o)
      metering.add('varve.read.bytes', found.bytes.length)
      return found
    },
    segment: async (name, o) => meteredSegment(await root.segment(name, o), metering, world),
  }
  return new Proxy(root, {
    get: (target, name) => {
      if (Object.hasOwn(own, name)) return own[name as keyof Root]
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

function meteredSegment(file: SegmentFile, metering: Metering, world: World): SegmentFile {
  return {
    size: file.size,
    read: (at, into) => file.read(at, into),
    readSync: (at, into) => file.readSync(at, into),
    write: (at, bytes, done) => {
      metering.add('varve.log.bytes', bytes.length)
      file.write(at, bytes, done)
    },
    writeSync: (at, bytes) => {
      metering.add('varve.log.bytes', bytes.length)
      file.writeSync(at, bytes)
    },
    datasync: (done) => {
      const startedMs = world.clock.monoMs()
      file.datasync((error) => {
        metering.record('varve.sync.duration', world.clock.monoMs() - startedMs)
        done(error)
      })
    },
    datasyncSync: () => file.datasyncSync(),
    truncate: (size) => file.truncate(size),
    close: () => file.close(),
    closeSync: () => file.closeSync(),
  }
}
