// store/metering.ts: the caller's Meter behind a wall, and what it is told: names of api.md section 8, numbers only, with the root and where there is one the table.
//
// Bytes and syncs are seen at the root (watched-root.ts); cache counters are told as differences, with each group and at close.
// Invariant: a meter that throws is logged once and harms nothing.

import type { World } from '../runtime/index.ts'
import type { ColumnCache, Meter } from '../table/index.ts'

type Name = `varve.${string}`

export class Metering {
  private readonly meter: Meter | undefined
  private readonly world: World
  private readonly root: Readonly<Record<string, string>>
  /** Attributes by table: made once. */
  private readonly tables = new Map<string, Readonly<Record<string, string>>>()
  private readonly told = new Map<Name, number>()
  private failed = false

  /** @param root  its URL */
  constructor(meter: Meter | undefined, world: World, root: string) {
    this.meter = meter
    this.world = world
    this.root = Object.freeze({ root })
  }

  /** Look before making a value that nobody wants. */
  get isOn(): boolean {
    return this.meter !== undefined
  }

  add(name: Name, value: number, table?: string): void {
    if (this.meter !== undefined) this.tell('add', name, value, table)
  }

  record(name: Name, value: number, table?: string): void {
    if (this.meter !== undefined) this.tell('record', name, value, table)
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

  private tell(call: 'add' | 'record', name: Name, value: number, table: string | undefined): void {
    try {
      // A copy each: a meter may keep and change what it is given.
      this.meter![call](name, value, { ...(table === undefined ? this.root : this.attributesOf(table)) })
    } catch (cause) {
      if (!this.failed) this.world.logger.log({ level: 'error', code: 'meter.failed', name, cause })
      this.failed = true
    }
  }

  private attributesOf(table: string): Readonly<Record<string, string>> {
    let attributes = this.tables.get(table)
    if (attributes === undefined) this.tables.set(table, (attributes = Object.freeze({ ...this.root, table })))
    return attributes
  }
}
