// root/memory-disk.ts: files and names in memory, with what a power cut would leave of them.
//
// A disk holds two images: the live one that every reader sees, and the durable one. File bytes become durable by a sync of that file, names by a sync of
// their directory; nothing else is promised. A crash keeps the durable image plus any subset of the rest (pages of 4 KiB, directory operations),
// which is the model of "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014) for a file system whose renames lose no file: across directories
// the new name never comes later than the old one goes, but both may be there.
//
// Invariant: what was synced before a crash is in every image that crash() can return.
import type { World } from '../runtime/index.ts'

const PAGE_BYTES = 4096

/** A change not yet durable: bytes at an offset, or a new length. */
type Change = { readonly at: number; readonly bytes: Uint8Array } | { readonly size: number }

/** Names that change together; they become durable with `dir`. */
interface NameChange {
  readonly dir: string
  /** The change that must be durable for this one to be: the new name of a rename, where this one takes the old name away. */
  readonly needs?: NameChange
  readonly set: ReadonlyArray<readonly [name: string, file: MemoryFile | undefined]>
}

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

  constructor(id: number, isDirectory: boolean) {
    this.id = id
    this.isDirectory = isDirectory
  }
}

export class MemoryDisk {
  /** Whether a crash can be asked for; without, nothing is recorded beside the live image. */
  readonly tracks: boolean
  readonly names: Map<string, MemoryFile> = new Map()
  readonly #durable = new Map<string, MemoryFile>()
  #pending: NameChange[] = []
  #nextId = 1
  #ticks = 0
  /** Counts changes of names, so that a sorted copy can tell its age. */
  generation = 0

  constructor(o: { tracks: boolean; firstId?: number }) {
    this.tracks = o.tracks
    this.#nextId = o.firstId ?? 1
  }

  create(isDirectory = false): MemoryFile {
    const file = new MemoryFile(this.#nextId++, isDirectory)
    file.mtimeMs = ++this.#ticks
    return file
  }

  /** Replaces the whole content; takes `bytes` over. */
  fill(file: MemoryFile, bytes: Uint8Array): void {
    file.data = bytes
    file.size = bytes.length
    file.mtimeMs = ++this.#ticks
    if (this.tracks) file.pending.push({ at: 0, bytes: bytes.slice() })
  }

  write(file: MemoryFile, at: number, bytes: Uint8Array): void {
    const end = at + bytes.length
    if (end > file.data.length) {
      const grown = new Uint8Array(Math.max(end, file.size === 0 ? end : Math.min(file.data.length * 2, file.data.length + (64 << 20))))
      grown.set(file.data.subarray(0, file.size))
      file.data = grown
    }
    file.data.set(bytes, at)
    file.size = Math.max(file.size, end)
    file.mtimeMs = ++this.#ticks
    if (this.tracks) file.pending.push({ at, bytes: bytes.slice() })
  }

  truncate(file: MemoryFile, size: number): void {
    const data = new Uint8Array(size)
    data.set(file.data.subarray(0, Math.min(size, file.size)))
    file.data = data
    file.size = size
    file.mtimeMs = ++this.#ticks
    if (this.tracks) file.pending.push({ size })
  }

  sync(file: MemoryFile): void {
    if (!this.tracks || file.pending.length === 0) return
    const fits = file.pending.every((change) => 'at' in change && change.at + change.bytes.length <= file.durable.length)
    if (fits) for (const change of file.pending as { at: number; bytes: Uint8Array }[]) file.durable.set(change.bytes, change.at)
    else file.durable = apply(file.durable, file.pending)
    file.pending = []
  }

  /** One atomic change of names in `dir`. `needs`: a change returned earlier that reaches the disk no later than this one. */
  rename(dir: string, set: NameChange['set'], needs?: NameChange): NameChange {
    for (const [name, file] of set) {
      const before = this.names.get(name)
      if (before !== undefined) before.links--
      if (file === undefined) this.names.delete(name)
      else {
        this.names.set(name, file)
        file.links++
      }
    }
    this.generation++
    const change: NameChange = needs === undefined ? { dir, set } : { dir, set, needs }
    if (this.tracks) this.#pending.push(change)
    return change
  }

  /** A file moves to another name: in one step within a directory, in two across. */
  move(file: MemoryFile, from: string, source: string, to: string, target: string): void {
    if (source === target) {
      const both: NameChange['set'] = [
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
    for (const change of this.#pending) if (settled.has(change)) this.#settle(this.#durable, change)
    this.#pending = this.#pending.filter((change) => !settled.has(change))
  }

  /** Whether anything is left that a crash could lose. */
  get hasUnsynced(): boolean {
    return this.#pending.length > 0 || [...this.names.values()].some((file) => file.pending.length > 0)
  }

  /** The disk after a power cut now: everything synced, and of the rest what `keep` decides: nothing, all, or a coin per page and operation. */
  crash(random: World['random'], keep: 'none' | 'all' | 'some'): MemoryDisk {
    const chosen = (): boolean => (keep === 'some' ? (random.u32() & 1) === 1 : keep === 'all')
    const names = new Map(this.#durable)
    const kept = new Set<NameChange>()
    for (const change of this.#pending) {
      const possible = change.needs === undefined || kept.has(change.needs) || !this.#pending.includes(change.needs)
      if (!chosen() || !possible) continue
      kept.add(change)
      this.#settle(names, change)
    }
    const after = new MemoryDisk({ tracks: true, firstId: this.#nextId })
    const copies = new Map<MemoryFile, MemoryFile>()
    for (const [name, file] of names) {
      let copy = copies.get(file)
      if (copy === undefined) {
        copy = after.create(file.isDirectory)
        copy.data = apply(file.durable, survivors(file.pending, chosen))
        copy.size = copy.data.length
        copy.durable = copy.data.slice()
        copies.set(file, copy)
      }
      copy.links++
      after.names.set(name, copy)
      after.#durable.set(name, copy)
    }
    return after
  }

  #settle(names: Map<string, MemoryFile>, change: NameChange): void {
    for (const [name, file] of change.set) {
      if (file === undefined) names.delete(name)
      else names.set(name, file)
    }
  }
}

/** Which pages of which changes reached the disk. */
function survivors(pending: readonly Change[], chosen: () => boolean): Change[] {
  const kept: Change[] = []
  for (const change of pending) {
    if ('size' in change) {
      if (chosen()) kept.push(change)
      continue
    }
    for (let from = 0; from < change.bytes.length;) {
      const at = change.at + from
      const until = Math.min(change.bytes.length, from + PAGE_BYTES - (at % PAGE_BYTES))
      if (chosen()) kept.push({ at, bytes: change.bytes.subarray(from, until) })
      from = until
    }
  }
  return kept
}

function apply(base: Uint8Array, changes: readonly Change[]): Uint8Array {
  let size = base.length
  let most = size
  for (const change of changes) {
    size = 'size' in change ? change.size : Math.max(size, change.at + change.bytes.length)
    most = Math.max(most, size)
  }
  const out = new Uint8Array(most)
  out.set(base)
  let length = base.length
  for (const change of changes) {
    if ('size' in change) {
      if (change.size < length) out.fill(0, change.size, length)
      length = change.size
    } else {
      out.set(change.bytes, change.at)
      length = Math.max(length, change.at + change.bytes.length)
    }
  }
  return out.subarray(0, length)
}
