// root/memory-root.ts: a Root in this process's memory, by the rules of a local one.
//
// Invariant: bytes go in and come out as copies; nobody outside holds the stored ones. With `loseUnsynced` the root keeps book of what was synced, and
// crash() gives the root a power cut would leave.
import { assert } from '../assert.ts'
import { seededRandom, soon, type FileStat } from '../runtime/index.ts'

import { MemoryDisk, type MemoryFile } from './memory-disk.ts'
import { checkName, checkPrefix, compareNames, firstFrom, inPrefix, isTemp, parentOf, type Prefix } from './names.ts'
import { resolveRange } from './ranges.ts'
import type { GetOptions, HeldObject, ObjectInfo, PutOptions, Root, RootCaps, SegmentFile } from './root.ts'
import { storageError } from './storage-error.ts'

export interface MemoryRootOptions {
  /** Roots of one name in one process are the same place. Without a name the place is private. */
  readonly name?: string
  /** Keep book of what is synced; the seed decides what a crash keeps of the rest. Not with a name. */
  readonly loseUnsynced?: number
}

const CAPS: RootCaps = Object.freeze({
  putIfAbsent: true,
  hardLink: true,
  segments: true,
  rangeRead: true,
  syncRead: true,
  syncDir: true,
  list: 'strong',
  conditionalReplace: false,
})

const shared = new Map<string, MemoryDisk>()

/** @example const root = new MemoryRoot({ name: 'orders' }) // again later: the same objects */
export class MemoryRoot implements Root {
  readonly url: string
  readonly caps: RootCaps = CAPS
  readonly #disk: MemoryDisk
  readonly #seed: number

  constructor(o: MemoryRootOptions = {}, disk?: MemoryDisk) {
    assert(o.name === undefined || o.loseUnsynced === undefined, 'a root that loses unsynced effects has no name')
    this.url = `memory:${o.name ?? ''}`
    this.#seed = o.loseUnsynced ?? 0
    const named = o.name === undefined ? undefined : shared.get(o.name)
    this.#disk = disk ?? named ?? new MemoryDisk({ tracks: o.loseUnsynced !== undefined })
    if (o.name !== undefined) shared.set(o.name, this.#disk)
  }

  /** What a power cut would leave now: everything synced and, by the seed, nothing, all or a part of the rest. This root goes on as if nothing was. */
  crash(seed: number = this.#seed): MemoryRoot {
    assert(this.#disk.tracks, 'crash() needs loseUnsynced')
    const random = seededRandom(seed)
    const keep = (['none', 'all', 'some', 'some'] as const)[random.u32() % 4]!
    return new MemoryRoot({ loseUnsynced: random.u32() }, this.#disk.crash(random, keep))
  }

  /** What the next process finds after a kill of this one, the machine running on: all that was written, what was not synced still not. This root goes on apart. */
  restart(): MemoryRoot {
    return new MemoryRoot({ loseUnsynced: this.#seed }, this.#disk.fork().disk)
  }

  /** Every name, sorted. */
  namesSync(): string[] {
    return this.#disk.sorted.slice()
  }

  /** Changes bytes as a broken disk would: live and durable image both. */
  corrupt(name: string, at: number, bytes: Uint8Array): void {
    const file = this.#find('corrupt', name)
    this.#disk.write(file, at, bytes)
    this.#disk.sync(file)
  }

  async get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    o?.signal?.throwIfAborted()
    return this.getSync(name, o)
  }

  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string } {
    const file = this.#find('get', name)
    const { start, end } = resolveRange(name, file.size, o?.range)
    return { bytes: file.data.slice(start, end), tag: tagOf(file) }
  }

  async head(name: string): Promise<{ size: number; tag: string } | undefined> {
    const file = this.#disk.names.get(checkName(name))
    return file === undefined ? undefined : { size: file.size, tag: tagOf(file) }
  }

  async exists(name: string): Promise<boolean> {
    if (this.#disk.names.has(checkName(name))) return true
    const inside = checkPrefix(`${name}/`)
    const { sorted } = this.#disk
    for (let at = firstFrom(sorted, `${name}/`); at < sorted.length && inPrefix(sorted[at]!, inside); at++) if (!isTemp(sorted[at]!)) return true
    return false
  }

  async put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    o?.signal?.throwIfAborted()
    await o?.beforeName?.()
    return this.putSync(name, bytes, o)
  }

  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string } {
    checkName(name)
    // Not slice(): that of a Node Buffer shares its memory.
    const file = this.#make(new Uint8Array(bytes), o?.sync !== false)
    this.#bind(name, file, syncsName(o))
    return { tag: tagOf(file) }
  }

  async putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    o?.signal?.throwIfAborted()
    if (this.#disk.names.has(checkName(name))) {
      // Whoever meets a taken name may build on it (it may be his own, of an attempt whose sync failed).
      if (syncsName(o)) this.#disk.syncDir(parentOf(name))
      return { status: 'exists' }
    }
    return { status: 'created', tag: this.putSync(name, bytes, o).tag }
  }

  async putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    checkName(name)
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const part of parts) {
      o?.signal?.throwIfAborted()
      chunks.push(new Uint8Array(part))
      size += part.length
    }
    const bytes = new Uint8Array(size)
    let at = 0
    for (const chunk of chunks) {
      bytes.set(chunk, at)
      at += chunk.length
    }
    return { ...this.putSync(name, bytes, o), size }
  }

  list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    return {
      [Symbol.asyncIterator]: () => {
        let listing: Iterator<ObjectInfo> | undefined
        // No async generator: each name would take three turns of the microtasks.
        return { next: async () => (listing ??= this.#listing(checkPrefix(prefix), o)).next() }
      },
    }
  }

  *#listing(wanted: Prefix, o: { after?: string; limit?: number; signal?: AbortSignal } | undefined): Generator<ObjectInfo, undefined> {
    const after = o?.after
    let left = o?.limit ?? Infinity
    // One listing is one state of the root: names that come or go meanwhile are another listing's.
    const { sorted } = this.#disk
    const below = `${wanted.path}/`
    const first = wanted.childrenOnly && wanted.path !== '' ? below : wanted.path
    for (let at = firstFrom(sorted, after !== undefined && compareNames(after, first) > 0 ? after : first); at < sorted.length; at++) {
      const name = sorted[at]!
      // `a/b`, then `a/b-c` and the like, then `a/b/...`: once past the last of them there is nothing more.
      if (wanted.path !== '' && !name.startsWith(below) && compareNames(name, below) > 0) return undefined
      if (name === after || !inPrefix(name, wanted) || isTemp(name)) continue
      if (left-- <= 0) return undefined
      o?.signal?.throwIfAborted()
      const file = this.#disk.names.get(name)
      if (file !== undefined) yield { name, size: file.size, tag: tagOf(file) }
    }
    return undefined
  }

  async delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
    const all = typeof names === 'string' ? [names] : names
    for (const name of all) checkName(name)
    const dirs = new Set<string>()
    for (const name of all) {
      if (!this.#disk.names.has(name)) continue
      this.#disk.rename(parentOf(name), [[name, undefined]])
      dirs.add(parentOf(name))
    }
    if (o?.sync !== false) for (const dir of dirs) this.#disk.syncDir(dir)
  }

  async deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }> {
    const wanted = checkPrefix(prefix)
    const doomed = [...this.#disk.names.keys()].filter((name) => inPrefix(name, wanted))
    let deleted = 0
    for (const name of doomed) {
      o?.signal?.throwIfAborted()
      await this.delete(name)
      deleted++
      o?.onProgress?.(deleted)
    }
    return { deleted }
  }

  async link(from: string, to: string): Promise<{ status: 'created' | 'exists' }> {
    checkName(to)
    const file = this.#find('link', from)
    if (this.#disk.names.has(to)) {
      // As in putIfAbsent: whoever meets a taken name may build on it.
      this.#disk.syncDir(parentOf(to))
      return { status: 'exists' }
    }
    this.#bind(to, file, true)
    return { status: 'created' }
  }

  async rename(from: string, to: string): Promise<void> {
    checkName(to)
    const file = this.#find('rename', from)
    if (from === to) return
    const [source, target] = [parentOf(from), parentOf(to)]
    this.#disk.move(file, from, source, to, target)
    this.#disk.syncDir(target)
    this.#disk.syncDir(source)
  }

  async segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile> {
    checkName(name)
    if ('open' in o) return new MemorySegment(this.#disk, this.#find('segment', name), name, o.open === 'write')
    if (this.#disk.names.has(name)) throw storageError('segment', name, 'exists', 'the name is taken')
    const file = this.#make(new Uint8Array(o.preallocate), true)
    this.#bind(name, file, true)
    return new MemorySegment(this.#disk, file, name, true)
  }

  async hold(name: string): Promise<HeldObject> {
    const file = this.#find('hold', name)
    const disk = this.#disk
    let open = true
    const close = () => {
      open = false
    }
    return {
      isCurrent: () => open && disk.names.get(name) === file,
      stat: () => (open ? statOf(file) : undefined),
      close: async () => close(),
      closeSync: close,
    }
  }

  async syncDir(prefix: string): Promise<void> {
    this.#disk.syncDir(checkPrefix(prefix).path)
  }

  async probe(): Promise<RootCaps> {
    return CAPS
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #find(op: string, name: string): MemoryFile {
    const file = this.#disk.names.get(checkName(name))
    if (file === undefined) throw storageError(op, name, 'notFound', 'no such object')
    return file
  }

  /** Takes `bytes` over. */
  #make(bytes: Uint8Array, sync: boolean): MemoryFile {
    const file = this.#disk.create()
    this.#disk.fill(file, bytes)
    if (sync) this.#disk.sync(file)
    return file
  }

  #bind(name: string, file: MemoryFile, sync: boolean): void {
    const dir = parentOf(name)
    this.#disk.rename(dir, [[name, file]])
    if (sync) this.#disk.syncDir(dir)
  }
}

/** Answers as late as a real file would: reads at once, writes and syncs after this turn of the event loop, in order. */
class MemorySegment implements SegmentFile {
  readonly size: number
  readonly #disk: MemoryDisk
  readonly #file: MemoryFile
  readonly #name: string
  readonly #writable: boolean
  #open = true

  constructor(disk: MemoryDisk, file: MemoryFile, name: string, writable: boolean) {
    this.#disk = disk
    this.#file = file
    this.#name = name
    this.#writable = writable
    this.size = file.size
  }

  async read(at: number, into: Uint8Array): Promise<number> {
    return this.readSync(at, into)
  }

  readSync(at: number, into: Uint8Array): number {
    this.#check(false)
    const n = Math.max(0, Math.min(into.length, this.#file.size - at))
    into.set(this.#file.data.subarray(at, at + n))
    return n
  }

  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.#later(() => this.writeSync(at, bytes), done)
  }

  writeSync(at: number, bytes: Uint8Array): void {
    this.#check(true)
    this.#disk.write(this.#file, at, bytes)
  }

  datasync(done: (error: Error | null) => void): void {
    this.#later(() => this.datasyncSync(), done)
  }

  datasyncSync(): void {
    this.#check(true)
    this.#disk.sync(this.#file)
  }

  async truncate(size: number): Promise<void> {
    this.#check(true)
    this.#disk.truncate(this.#file, size)
  }

  async close(): Promise<void> {
    this.#open = false
  }

  closeSync(): void {
    this.#open = false
  }

  #check(writing: boolean): void {
    if (!this.#open) throw storageError('segment', this.#name, 'io', 'the segment is closed')
    if (writing && !this.#writable) throw storageError('segment', this.#name, 'permission', 'opened for reading')
  }

  #later(effect: () => void, done: (error: Error | null) => void): void {
    soon(() => {
      let failed: Error | null = null
      try {
        effect()
      } catch (error) {
        failed = error as Error
      }
      done(failed)
    })
  }
}

function syncsName(o: PutOptions | undefined): boolean {
  return o?.sync === undefined || o.sync === true
}

function tagOf(file: MemoryFile): string {
  return `${file.id}-${file.mtimeMs}`
}

function statOf(file: MemoryFile): FileStat {
  return { size: file.size, identity: `memory:${file.id}`, links: file.links, isDirectory: false, mtimeMs: file.mtimeMs }
}
