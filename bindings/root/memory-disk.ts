// root/memory-disk.ts: files and names in memory, with what a power cut would leave of them.
//
// A disk holds two images: the live one that every reader sees, and the durable one. File bytes and sizes become durable by a sync of that file, names by a
// sync of their directory; nothing else is promised: a sync of a file does not keep its name. What a crash may leave of the rest is crash-state.ts.
//
// Invariant: what was synced before a crash is in every image that crash() can return. Contents are shared between copies until one of them is written.
import { CRASH_MODEL, type Change, type CrashModel, keepAlways, type KeepUnit, survivors } from './crash-state.ts'
import type { World } from '../runtime/index.ts'
import { firstFrom, sortNames } from './names.ts'

/** So many names that came or went are put into their places; for more of them all are sorted again. */
const MOVED_MAX = 32

/** Names that change together; they become durable with `dir`. */
export interface NameChange {
  readonly seq: number
  readonly dir: string
  /** The change that must be durable for this one to be: the new name of a rename, where this one takes the old name away. */
  readonly needs?: NameChange
  readonly set: NameSet
}

type NameSet = ReadonlyArray<readonly [name: string, file: MemoryFile | undefined]>

/** What an observer is told: every effect and every barrier, in order; files by their number. */
export type DiskOp =
  | { readonly op: 'create'; readonly file: number; readonly isDirectory: boolean }
  | { readonly op: 'write'; readonly file: number; readonly at: number; readonly bytes: Uint8Array }
  | { readonly op: 'truncate'; readonly file: number; readonly size: number }
  | { readonly op: 'sync'; readonly file: number }
  /** A sync that failed: the pages turn clean. */
  | { readonly op: 'lose'; readonly file: number }
  | { readonly op: 'names'; readonly dir: string; readonly set: ReadonlyArray<readonly [name: string, file: number | undefined]>; readonly second: boolean }
  | { readonly op: 'syncDir'; readonly dir: string }

/** An inode. */
export class MemoryFile {
  readonly id: number
  readonly isDirectory: boolean
  links = 0
  mtimeMs = 0
  size = 0
  data: Uint8Array = new Uint8Array(0)
  durable: Uint8Array = new Uint8Array(0)
  pending: Change[] = []
  /** Whether the array is this file's alone, so that it may be written in place. */
  ownsData = true
  ownsDurable = true

  constructor(id: number, isDirectory: boolean) {
    this.id = id
    this.isDirectory = isDirectory
  }
}

export class MemoryDisk {
  /** Whether a crash can be asked for; without, nothing is recorded beside the live image. */
  readonly tracks: boolean
  readonly names: Map<string, MemoryFile> = new Map()
  /** Told of each operation after it was done. */
  observer: ((op: DiskOp) => void) | undefined
  #durable = new Map<string, MemoryFile>()
  #pending: NameChange[] = []
  #nextId = 1
  #ticks = 0
  #seq = 0
  #sorted: readonly string[] | undefined
  /** Names that came or went since. */
  #moved: string[] = []

  constructor(o: { tracks: boolean; firstId?: number }) {
    this.tracks = o.tracks
    this.#nextId = o.firstId ?? 1
  }

  /** All names in their order, as they are now; nobody changes the array. */
  get sorted(): readonly string[] {
    if (this.#sorted === undefined) this.#sorted = sortNames([...this.names.keys()])
    else if (this.#moved.length > 0) {
      const sorted = this.#sorted.slice()
      for (const name of this.#moved) {
        const at = firstFrom(sorted, name)
        const [isListed, isThere] = [sorted[at] === name, this.names.has(name)]
        if (isListed !== isThere) sorted.splice(at, isListed ? 1 : 0, ...(isThere ? [name] : []))
      }
      this.#sorted = sorted
    }
    this.#moved = []
    return this.#sorted
  }

  create(isDirectory = false): MemoryFile {
    const file = new MemoryFile(this.#nextId++, isDirectory)
    file.mtimeMs = ++this.#ticks
    this.observer?.({ op: 'create', file: file.id, isDirectory })
    return file
  }

  /** Replaces the whole content; takes `bytes` over. */
  fill(file: MemoryFile, bytes: Uint8Array): void {
    const before = file.size
    file.data = bytes
    // What is recorded is these bytes themselves.
    file.ownsData = !this.tracks
    file.size = bytes.length
    file.mtimeMs = ++this.#ticks
    if (this.tracks) this.#changed(file, 0, bytes, before)
  }

  write(file: MemoryFile, at: number, bytes: Uint8Array): void {
    const end = at + bytes.length
    const before = file.size
    if (end > file.data.length) {
      const grown = new Uint8Array(Math.max(end, before === 0 ? end : Math.min(file.data.length * 2, file.data.length + (64 << 20))))
      grown.set(file.data.subarray(0, before))
      file.data = grown
      file.ownsData = true
    } else if (!file.ownsData) {
      file.data = file.data.slice()
      file.ownsData = true
    }
    file.data.set(bytes, at)
    file.size = Math.max(before, end)
    file.mtimeMs = ++this.#ticks
    if (this.tracks) this.#changed(file, at, bytes.slice(), before)
  }

  truncate(file: MemoryFile, size: number): void {
    const data = new Uint8Array(size)
    data.set(file.data.subarray(0, Math.min(size, file.size)))
    file.data = data
    file.ownsData = true
    file.size = size
    file.mtimeMs = ++this.#ticks
    if (!this.tracks) return
    file.pending.push({ seq: ++this.#seq, size })
    this.observer?.({ op: 'truncate', file: file.id, size })
  }

  sync(file: MemoryFile): void {
    if (!this.tracks) return
    if (file.pending.length > 0) {
      const fits = file.pending.every((change) => 'at' in change && change.at + change.bytes.length <= file.durable.length)
      const first = file.pending[0]!
      const isWhole = file.pending.length === 1 && 'at' in first && first.at === 0 && file.durable.length === 0
      if (isWhole) file.durable = first.bytes
      else if (fits) {
        if (!file.ownsDurable) file.durable = file.durable.slice()
        for (const change of file.pending as { at: number; bytes: Uint8Array }[]) file.durable.set(change.bytes, change.at)
      } else file.durable = survivors(file.durable, file.pending, keepAlways, CRASH_MODEL)
      // The live image may be made of the very bytes of a first content.
      file.ownsDurable = !isWhole
      file.pending = []
    }
    this.observer?.({ op: 'sync', file: file.id })
  }

  /** A sync failed: what was written stays readable until the crash and never becomes durable by a later sync, as on Linux. */
  lose(file: MemoryFile): void {
    file.pending = []
    this.observer?.({ op: 'lose', file: file.id })
  }

  /** One atomic change of names in `dir`. `needs`: a change returned earlier that reaches the disk no later than this one. */
  rename(dir: string, set: NameSet, needs?: NameChange): NameChange {
    for (const [name, file] of set) {
      const before = this.names.get(name)
      if (before === undefined || file === undefined) this.#move(name)
      if (before !== undefined) before.links--
      if (file === undefined) this.names.delete(name)
      else {
        this.names.set(name, file)
        file.links++
      }
    }
    const seq = ++this.#seq
    const change: NameChange = needs === undefined ? { seq, dir, set } : { seq, dir, set, needs }
    if (this.tracks) this.#pending.push(change)
    this.observer?.({ op: 'names', dir, set: set.map(([name, file]) => [name, file?.id] as const), second: needs !== undefined })
    return change
  }

  /** A file moves to another name: in one step within a directory, in two across. */
  move(file: MemoryFile, from: string, source: string, to: string, target: string): void {
    if (source === target) {
      const both: NameSet = [
        [to, file],
        [from, undefined],
      ]
      this.rename(target, both)
    } else this.rename(source, [[from, undefined]], this.rename(target, [[to, file]]))
  }

  /** Makes every change of names in `dir` durable. */
  syncDir(dir: string): void {
    if (!this.tracks) return
    const settled = new Set(this.#pending.filter((change) => change.dir === dir))
    for (const { needs } of settled) if (needs !== undefined) settled.add(needs)
    if (settled.size > 0) {
      for (const change of this.#pending) if (settled.has(change)) settle(this.#durable, change)
      this.#pending = this.#pending.filter((change) => !settled.has(change))
    }
    this.observer?.({ op: 'syncDir', dir })
  }

  /** The change of names made last, while it is not durable. */
  get lastNames(): NameChange | undefined {
    return this.#pending.at(-1)
  }

  /** Whether anything is left that a crash could lose. */
  get hasUnsynced(): boolean {
    return this.#pending.length > 0 || [...this.names.values()].some((file) => file.pending.length > 0)
  }

  /** What a crash now could lose, as texts, in the order in which it was done. */
  unsynced(): string[] {
    const found: { seq: number; text: string }[] = []
    for (const { seq, dir, set } of this.#pending) {
      found.push({ seq, text: `${set.map(([name, file]) => (file === undefined ? `- ${name}` : `+ ${name}`)).join(', ')} (names in ${dir})` })
    }
    for (const [name, file] of this.names) {
      for (const change of file.pending) {
        found.push({ seq: change.seq, text: 'at' in change ? `${name}: ${change.bytes.length} bytes at ${change.at}` : `${name}: cut to ${change.size}` })
      }
    }
    return found.sort((a, b) => a.seq - b.seq).map(({ text }) => text)
  }

  /** As crash with a coin: nothing, all, or each page and operation with a chance of one half. */
  crash(random: World['random'], keep: 'none' | 'all' | 'some'): MemoryDisk {
    return this.after(() => (keep === 'some' ? (random.u32() & 1) === 1 : keep === 'all'))
  }

  /** The disk after a power cut now: everything synced, and of the rest the units that `keep` lets survive. All of it is durable then. */
  after(keep: KeepUnit, model: CrashModel = CRASH_MODEL): MemoryDisk {
    const names = new Map(this.#durable)
    const kept = new Set<NameChange>()
    const open = new Set(this.#pending)
    for (const change of this.#pending) {
      const free = model.renames === 'apart' || change.needs === undefined || kept.has(change.needs) || !open.has(change.needs)
      if (!keep({ seq: change.seq, kind: 'name' }) || !free) continue
      kept.add(change)
      settle(names, change)
    }
    const after = new MemoryDisk({ tracks: true, firstId: this.#nextId })
    const copies = new Map<MemoryFile, MemoryFile>()
    for (const [name, file] of names) {
      let copy = copies.get(file)
      if (copy === undefined) {
        copy = after.create(file.isDirectory)
        if (file.pending.length === 0) file.ownsDurable = false
        copy.data = file.pending.length === 0 ? file.durable : survivors(file.durable, file.pending, keep, model)
        copy.size = copy.data.length
        copy.durable = copy.data
        copy.ownsData = false
        copy.ownsDurable = false
        copies.set(file, copy)
      }
      copy.links++
      after.names.set(name, copy)
      after.#durable.set(name, copy)
    }
    return after
  }

  /** A second disk in the very same state, unsynced changes included: from here each goes its own way. Files keep their numbers. */
  fork(): { readonly disk: MemoryDisk; readonly files: Map<number, MemoryFile> } {
    const disk = new MemoryDisk({ tracks: this.tracks, firstId: this.#nextId })
    disk.#ticks = this.#ticks
    disk.#seq = this.#seq
    const files = new Map<number, MemoryFile>()
    const twin = (file: MemoryFile): MemoryFile => {
      let copy = files.get(file.id)
      if (copy !== undefined) return copy
      copy = new MemoryFile(file.id, file.isDirectory)
      file.ownsData = false
      file.ownsDurable = false
      Object.assign(copy, file, { pending: file.pending.slice() })
      files.set(file.id, copy)
      return copy
    }
    for (const [name, file] of this.names) disk.names.set(name, twin(file))
    for (const [name, file] of this.#durable) disk.#durable.set(name, twin(file))
    const changes = new Map<NameChange, NameChange>()
    for (const change of this.#pending) {
      const set = change.set.map(([name, file]) => [name, file === undefined ? undefined : twin(file)] as const)
      const needs = change.needs === undefined ? undefined : changes.get(change.needs)
      changes.set(change, needs === undefined ? { seq: change.seq, dir: change.dir, set } : { seq: change.seq, dir: change.dir, set, needs })
    }
    disk.#pending = [...changes.values()]
    disk.#sorted = this.sorted
    return { disk, files }
  }

  #move(name: string): void {
    if (this.#sorted === undefined || this.#moved.push(name) <= MOVED_MAX) return
    this.#sorted = undefined
    this.#moved = []
  }

  #changed(file: MemoryFile, at: number, bytes: Uint8Array, before: number): void {
    file.pending.push({ seq: ++this.#seq, at, bytes, before })
    this.observer?.({ op: 'write', file: file.id, at, bytes })
  }
}

function settle(names: Map<string, MemoryFile>, change: NameChange): void {
  for (const [name, file] of change.set) {
    if (file === undefined) names.delete(name)
    else names.set(name, file)
  }
}
