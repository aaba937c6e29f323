// testing/fake-files.ts: a FileSystem in memory that notes every call, fails where it is told to, and loses at a crash what was not synced.
//
// The crash model is MemoryDisk's (root/memory-disk.ts, root/crash-state.ts): file bytes are durable after a sync of that file, names after a sync of their
// directory, and of the rest any subset may survive. A failed sync turns its pages clean, as Linux does: no later sync of the file makes them durable.
// record() keeps a trace, from which the legal states after a crash at any operation are made later (disk-trace.ts).
// Invariant: errors carry the errno names a real file system gives, so that code under test cannot tell the difference.
import { MemoryDisk, type MemoryFile } from '../root/index.ts'
import { seededRandom, soon, type FileHandle, type FileStat, type FileSystem } from '../runtime/index.ts'

import { CrashPoint, DiskTrace } from './disk-trace.ts'

export type FakeOp =
  | 'open'
  | 'stat'
  | 'readdir'
  | 'mkdir'
  | 'rmdir'
  | 'link'
  | 'rename'
  | 'unlink'
  | 'syncDir'
  | 'read'
  | 'write'
  | 'datasync'
  | 'sync'
  | 'truncate'
  | 'fstat'
  | 'close'

export interface FakeCall {
  /** From 1, over the life of this file system. */
  readonly n: number
  readonly op: FakeOp
  readonly path: string
  /** Target of link and rename. */
  readonly to?: string
  readonly at?: number
  readonly length?: number
}

/** What goes wrong with a call: an errno name, before any effect unless `effect` says that the whole or half of it (a short write) happened. */
export interface FakeFault {
  readonly error: string
  readonly effect?: 'none' | 'half' | 'whole'
}

export type FaultPlan = (call: FakeCall) => FakeFault | undefined

export interface FakeFilesOptions {
  /** Directories that are there, durably; default `/data`. */
  readonly dirs?: readonly string[]
}

type Done = (error: Error | null) => void

/** @example const files = new FakeFiles(); const root = new DirRoot('/data', fakeWorld({ files })) */
export class FakeFiles implements FileSystem {
  /** Every call so far, in order. */
  readonly calls: FakeCall[] = []
  /** Handles open now: a leak shows here. */
  openHandles = 0
  #disk: MemoryDisk
  #plan: FaultPlan | undefined
  #dead = false

  constructor(o: FakeFilesOptions = {}, disk?: MemoryDisk) {
    this.#disk = disk ?? new MemoryDisk({ tracks: true })
    if (disk !== undefined) return
    this.#disk.rename('/', [['/', this.#disk.create(true)]])
    for (const dir of o.dirs ?? ['/data']) {
      let path = ''
      for (const part of dir.split('/').slice(1)) {
        const parent = path === '' ? '/' : path
        path += `/${part}`
        if (!this.#disk.names.has(path)) this.#disk.rename(parent, [[path, this.#disk.create(true)]])
        this.#disk.syncDir(parent)
      }
    }
    this.#disk.syncDir('/')
  }

  /** Asks before each call whether it fails; undefined stops asking. */
  plan(plan: FaultPlan | undefined): void {
    this.#plan = plan
  }

  /** The k-th call from now (from 1) fails with this errno; `only` restricts which calls count. */
  failAt(k: number, fault: FakeFault, only: (call: FakeCall) => boolean = () => true): void {
    let left = k
    this.#plan = (call) => (only(call) && --left === 0 ? fault : undefined)
  }

  /** The process is killed at the k-th call from now: that one and all later ones fail without effect. */
  stopAt(k: number): void {
    let left = k
    this.#plan = () => {
      if (--left <= 0) this.#dead = true
      return undefined
    }
  }

  /** Whether stopAt has struck. */
  get stopped(): boolean {
    return this.#dead
  }

  /** The file system after a kill of the process, the machine running on: everything written is there. The old one is dead. */
  restart(): FakeFiles {
    this.#dead = true
    return new FakeFiles({}, this.#disk)
  }

  /** The file system after a power cut now; `keep` decides about what was not synced; without it the seed chooses among the strategies of disk-trace.ts. The old one is dead. */
  crash(seed: number, keep?: 'none' | 'all' | 'some'): FakeFiles {
    this.#dead = true
    return this.image(seed, keep)
  }

  /** As crash, and this one goes on. */
  image(seed: number, keep?: 'none' | 'all' | 'some'): FakeFiles {
    if (keep === undefined) return new CrashPoint(this.#disk, 0, FakeFiles.of).sample(seed).files
    return FakeFiles.of(this.#disk.crash(seededRandom(seed), keep))
  }

  /** Keeps every operation from now on, so that crashes at any of them can be looked at later. */
  record(): DiskTrace {
    return new DiskTrace(this.#disk, FakeFiles.of)
  }

  /** @internal */
  static of(this: void, disk: MemoryDisk): FakeFiles {
    // A name whose directory did not survive is gone with it.
    for (const name of [...disk.names.keys()].sort()) {
      if (name === '/' || disk.names.get(parentOf(name))?.isDirectory === true) continue
      disk.rename(parentOf(name), [[name, undefined]])
      disk.syncDir(parentOf(name))
    }
    return new FakeFiles({}, disk)
  }

  /** Live content, for assertions; undefined when there is no such file. */
  contents(path: string): Uint8Array | undefined {
    const file = this.#disk.names.get(path)
    return file === undefined || file.isDirectory ? undefined : file.data.slice(0, file.size)
  }

  /** Live paths of all files (not directories), sorted. */
  paths(): string[] {
    return [...this.#disk.names].flatMap(([path, file]) => (file.isDirectory ? [] : [path])).sort()
  }

  /** Changes bytes as a broken disk would: live and durable image both. */
  corrupt(path: string, at: number, bytes: Uint8Array): void {
    const file = this.#lookup('open', path)
    this.#disk.write(file, at, bytes)
    this.#disk.sync(file)
  }

  async open(path: string, flags: 'r' | 'r+' | 'wx'): Promise<FileHandle> {
    await Promise.resolve()
    return this.openSync(path, flags)
  }

  openSync(path: string, flags: 'r' | 'r+' | 'wx'): FileHandle {
    return this.#call({ op: 'open', path }, () => {
      const found = this.#disk.names.get(path)
      if (flags !== 'wx') {
        const file = this.#lookup('open', path)
        if (file.isDirectory && flags === 'r+') throw fail('EISDIR', 'open', path)
        return new FakeHandle(this, this.#disk, file, path, flags !== 'r')
      }
      if (found !== undefined) throw fail('EEXIST', 'open', path)
      const dir = this.#folderOf('open', path)
      const file = this.#disk.create()
      this.#disk.rename(dir, [[path, file]])
      return new FakeHandle(this, this.#disk, file, path, true)
    })
  }

  async stat(path: string): Promise<FileStat> {
    await Promise.resolve()
    return this.statSync(path)
  }

  statSync(path: string): FileStat {
    return this.#call({ op: 'stat', path }, () => toStat(this.#lookup('stat', path)))
  }

  async readdir(path: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]> {
    await Promise.resolve()
    return this.#call({ op: 'readdir', path }, () => {
      if (!this.#lookup('readdir', path).isDirectory) throw fail('ENOTDIR', 'readdir', path)
      return this.#children(path)
    })
  }

  async mkdir(path: string): Promise<void> {
    await Promise.resolve()
    this.mkdirSync(path)
  }

  mkdirSync(path: string): void {
    this.#call({ op: 'mkdir', path }, () => {
      if (this.#disk.names.has(path)) throw fail('EEXIST', 'mkdir', path)
      this.#disk.rename(this.#folderOf('mkdir', path), [[path, this.#disk.create(true)]])
    })
  }

  async rmdir(path: string): Promise<void> {
    await Promise.resolve()
    this.#call({ op: 'rmdir', path }, () => {
      if (!this.#lookup('rmdir', path).isDirectory) throw fail('ENOTDIR', 'rmdir', path)
      if (this.#children(path).length > 0) throw fail('ENOTEMPTY', 'rmdir', path)
      this.#disk.rename(parentOf(path), [[path, undefined]])
    })
  }

  async link(from: string, to: string): Promise<void> {
    await Promise.resolve()
    this.#call({ op: 'link', path: from, to }, () => {
      const file = this.#lookup('link', from)
      if (file.isDirectory) throw fail('EPERM', 'link', from)
      if (this.#disk.names.has(to)) throw fail('EEXIST', 'link', to)
      this.#disk.rename(this.#folderOf('link', to), [[to, file]])
    })
  }

  async rename(from: string, to: string): Promise<void> {
    await Promise.resolve()
    this.renameSync(from, to)
  }

  renameSync(from: string, to: string): void {
    this.#call({ op: 'rename', path: from, to }, () => {
      const file = this.#lookup('rename', from)
      const target = this.#disk.names.get(to)
      if (file.isDirectory) throw fail('EINVAL', 'rename', from)
      if (target?.isDirectory === true) throw fail('EISDIR', 'rename', to)
      const dir = this.#folderOf('rename', to)
      if (target === file) return // two names of one file: POSIX leaves both
      this.#disk.move(file, from, parentOf(from), to, dir)
    })
  }

  async unlink(path: string): Promise<void> {
    await Promise.resolve()
    this.unlinkSync(path)
  }

  unlinkSync(path: string): void {
    this.#call({ op: 'unlink', path }, () => {
      if (this.#lookup('unlink', path).isDirectory) throw fail('EISDIR', 'unlink', path)
      this.#disk.rename(parentOf(path), [[path, undefined]])
    })
  }

  async syncDir(path: string): Promise<void> {
    await Promise.resolve()
    this.syncDirSync(path)
  }

  syncDirSync(path: string): void {
    this.#call({ op: 'syncDir', path }, () => {
      if (!this.#lookup('syncDir', path).isDirectory) throw fail('ENOTDIR', 'syncDir', path)
      this.#disk.syncDir(path)
    })
  }

  /** Notes a call, lets the plan fail it, else performs it. For FakeHandle. */
  run<T>(call: Omit<FakeCall, 'n'>, effect: () => T, half?: () => void, onFault?: () => void): T {
    return this.#call(call, effect, half, onFault)
  }

  #call<T>(what: Omit<FakeCall, 'n'>, effect: () => T, half?: () => void, onFault?: () => void): T {
    const call: FakeCall = { n: this.calls.length + 1, ...what }
    this.calls.push(call)
    const fault = this.#dead ? undefined : this.#plan?.(call)
    if (this.#dead) throw fail('EIO', what.op, `${what.path}: the machine has stopped`)
    if (fault === undefined) return effect()
    if (fault.effect === 'whole') {
      // A descriptor that nobody receives does not exist.
      if (effect() instanceof FakeHandle) this.openHandles--
    } else if (fault.effect === 'half') half?.()
    onFault?.()
    throw fail(fault.error, what.op, what.path)
  }

  #lookup(op: string, path: string): MemoryFile {
    const file = this.#disk.names.get(path)
    if (file !== undefined) return file
    this.#folderOf(op, path)
    throw fail('ENOENT', op, path)
  }

  /** The directory a name is in. @throws ENOENT, ENOTDIR */
  #folderOf(op: string, path: string): string {
    for (let dir = parentOf(path); ; dir = parentOf(dir)) {
      const found = this.#disk.names.get(dir)
      if (found?.isDirectory === false) throw fail('ENOTDIR', op, path)
      if (found === undefined) continue
      if (dir === parentOf(path)) return dir
      throw fail('ENOENT', op, path)
    }
  }

  #children(path: string): { name: string; isDirectory: boolean }[] {
    const lead = path === '/' ? '/' : `${path}/`
    const children: { name: string; isDirectory: boolean }[] = []
    for (const [name, file] of this.#disk.names) {
      if (name.length > lead.length && name.startsWith(lead) && !name.includes('/', lead.length)) {
        children.push({ name: name.slice(lead.length), isDirectory: file.isDirectory })
      }
    }
    return children
  }
}

class FakeHandle implements FileHandle {
  readonly #files: FakeFiles
  readonly #disk: MemoryDisk
  readonly #file: MemoryFile
  readonly #path: string
  readonly #writable: boolean
  #open = true

  constructor(files: FakeFiles, disk: MemoryDisk, file: MemoryFile, path: string, writable: boolean) {
    this.#files = files
    this.#disk = disk
    this.#file = file
    this.#path = path
    this.#writable = writable
    files.openHandles++
  }

  async read(at: number, into: Uint8Array): Promise<number> {
    await Promise.resolve()
    return this.readSync(at, into)
  }

  readSync(at: number, into: Uint8Array): number {
    return this.#call({ op: 'read', path: this.#path, at, length: into.length }, () => {
      if (this.#file.isDirectory) throw fail('EISDIR', 'read', this.#path)
      const n = Math.max(0, Math.min(into.length, this.#file.size - at))
      into.set(this.#file.data.subarray(at, at + n))
      return n
    })
  }

  write(at: number, bytes: Uint8Array, done: Done): void {
    later(() => this.writeSync(at, bytes), done)
  }

  writeSync(at: number, bytes: Uint8Array): void {
    const half = (): void => this.#disk.write(this.#file, at, bytes.subarray(0, bytes.length >>> 1))
    this.#call({ op: 'write', path: this.#path, at, length: bytes.length }, () => this.#change(() => this.#disk.write(this.#file, at, bytes)), half)
  }

  datasync(done: Done): void {
    later(() => this.datasyncSync(), done)
  }

  datasyncSync(): void {
    this.#sync('datasync')
  }

  async sync(): Promise<void> {
    await Promise.resolve()
    this.#sync('sync')
  }

  async truncate(size: number): Promise<void> {
    await Promise.resolve()
    this.truncateSync(size)
  }

  truncateSync(size: number): void {
    this.#call({ op: 'truncate', path: this.#path, length: size }, () => this.#change(() => this.#disk.truncate(this.#file, size)))
  }

  async stat(): Promise<FileStat> {
    await Promise.resolve()
    return this.statSync()
  }

  statSync(): FileStat {
    return this.#call({ op: 'fstat', path: this.#path }, () => toStat(this.#file))
  }

  async close(): Promise<void> {
    await Promise.resolve()
    this.closeSync()
  }

  closeSync(): void {
    if (!this.#open) return
    // Whatever close reports, the descriptor is gone (Linux).
    this.#open = false
    this.#files.openHandles--
    this.#files.run({ op: 'close', path: this.#path }, () => {})
  }

  #sync(op: 'sync' | 'datasync'): void {
    // A fault without effect still takes the dirty pages along.
    const lose = (): void => this.#disk.lose(this.#file)
    this.#call({ op, path: this.#path }, () => this.#disk.sync(this.#file), undefined, lose)
  }

  #change(effect: () => void): void {
    if (!this.#writable) throw fail('EBADF', 'write', this.#path)
    effect()
  }

  #call<T>(call: Omit<FakeCall, 'n'>, effect: () => T, half?: () => void, onFault?: () => void): T {
    if (!this.#open) throw fail('EBADF', call.op, this.#path)
    return this.#files.run(call, effect, half, onFault)
  }
}

function later(effect: () => void, done: Done): void {
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

/** Later than any clock of a test: a file that a test has just made is never taken for one that a crash left long ago. */
const NEW_MS = 4e12

function toStat(file: MemoryFile): FileStat {
  return { size: file.size, identity: `fake:${file.id}`, links: file.links, isDirectory: file.isDirectory, mtimeMs: NEW_MS + file.mtimeMs }
}

function fail(code: string, op: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${op} '${path}'`), { code })
}

function parentOf(path: string): string {
  const at = path.lastIndexOf('/')
  return at <= 0 ? '/' : path.slice(0, at)
}
