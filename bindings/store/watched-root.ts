// store/watched-root.ts: the root of an open store with its bytes counted, and told to the meter when there is one.
//
// Each call goes through as it is. Invariant: counters go up only by what a call has been handed in or has answered; what failed half way counts whole.

import type { GetOptions, HeldObject, ObjectInfo, PutOptions, Root, RootCaps, SegmentFile } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import type { Metering } from './metering.ts'

/** Bytes handed to the root since the open. Zeros of preallocated segments are not counted: records go over them. */
export class WrittenBytes {
  /** Records of the log, with their frames, marks and footers. */
  log = 0
  /** Everything else: fragments, indexes, deletion vectors, checkpoints, intents. */
  files = 0
}

const LOG = 'log/'
/** Of any generation. */
const LOGS = /^log(?:\.\d{10})?\//

export class WatchedRoot implements Root {
  readonly inner: Root
  readonly probe?: () => Promise<RootCaps>
  readonly sweepTemporary?: NonNullable<Root['sweepTemporary']>
  private readonly written: WrittenBytes
  private readonly metering: Metering
  private readonly world: World

  constructor(inner: Root, written: WrittenBytes, metering: Metering, world: World) {
    this.inner = inner
    this.written = written
    this.metering = metering
    this.world = world
    if (inner.probe !== undefined) this.probe = () => inner.probe!()
    if (inner.sweepTemporary !== undefined) this.sweepTemporary = (beforeMs, o) => inner.sweepTemporary!(beforeMs, o)
  }

  get url(): string {
    return this.inner.url
  }

  get caps(): RootCaps {
    return this.inner.caps
  }

  get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    return this.metering.isOn ? this.measured(name, o) : this.inner.get(name, o)
  }

  private async measured(name: string, o: (GetOptions & { signal?: AbortSignal }) | undefined): Promise<{ bytes: Uint8Array; tag: string }> {
    const found = await this.inner.get(name, o)
    this.metering.add('varve.read.bytes', found.bytes.length)
    return found
  }

  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string } {
    const found = this.inner.getSync(name, o)
    if (this.metering.isOn) this.metering.add('varve.read.bytes', found.bytes.length)
    return found
  }

  head(name: string): Promise<{ size: number; tag: string } | undefined> {
    return this.inner.head(name)
  }

  exists(name: string): Promise<boolean> {
    return this.inner.exists(name)
  }

  put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    this.count(name, bytes.length)
    return this.inner.put(name, bytes, o)
  }

  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string } {
    this.count(name, bytes.length)
    return this.inner.putSync(name, bytes, o)
  }

  putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions & { attempt?: Uint8Array }): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    this.count(name, bytes.length)
    return this.inner.putIfAbsent(name, bytes, o)
  }

  async putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    const stored = await this.inner.putLarge(name, parts, o)
    this.count(name, stored.size)
    return stored
  }

  list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    return this.inner.list(prefix, o)
  }

  delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
    return this.inner.delete(names, o)
  }

  deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }> {
    return this.inner.deletePrefix(prefix, o)
  }

  link(from: string, to: string): Promise<{ status: 'created' | 'exists' }> {
    return this.inner.link(from, to)
  }

  rename(from: string, to: string): Promise<void> {
    return this.inner.rename(from, to)
  }

  segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile> {
    const opened = this.inner.segment(name, o)
    if ('open' in o && o.open === 'read') return opened
    return opened.then((file) => new WatchedSegment(file, (bytes) => this.count(LOG, bytes), this.metering, this.world))
  }

  hold(name: string): Promise<HeldObject> {
    return this.inner.hold(name)
  }

  syncDir(prefix: string): Promise<void> {
    return this.inner.syncDir(prefix)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.inner[Symbol.asyncDispose]()
  }

  private count(name: string, bytes: number): void {
    if (!LOGS.test(name)) {
      this.written.files += bytes
      return
    }
    this.written.log += bytes
    this.metering.add('varve.log.bytes', bytes)
  }
}

class WatchedSegment implements SegmentFile {
  readonly size: number
  private readonly inner: SegmentFile
  private readonly count: (bytes: number) => void
  private readonly metering: Metering
  private readonly world: World

  constructor(inner: SegmentFile, count: (bytes: number) => void, metering: Metering, world: World) {
    this.size = inner.size
    this.inner = inner
    this.count = count
    this.metering = metering
    this.world = world
  }

  read(at: number, into: Uint8Array): Promise<number> {
    return this.inner.read(at, into)
  }

  readSync(at: number, into: Uint8Array): number {
    return this.inner.readSync(at, into)
  }

  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.count(bytes.length)
    this.inner.write(at, bytes, done)
  }

  writeSync(at: number, bytes: Uint8Array): void {
    this.count(bytes.length)
    this.inner.writeSync(at, bytes)
  }

  datasync(done: (error: Error | null) => void): void {
    if (!this.metering.isOn) return this.inner.datasync(done)
    const startedMs = this.world.clock.monoMs()
    this.inner.datasync((error) => {
      this.metering.record('varve.sync.duration', this.world.clock.monoMs() - startedMs)
      done(error)
    })
  }

  datasyncSync(): void {
    this.inner.datasyncSync()
  }

  truncate(size: number): Promise<void> {
    return this.inner.truncate(size)
  }

  close(): Promise<void> {
    return this.inner.close()
  }

  closeSync(): void {
    this.inner.closeSync()
  }
}
