// runtime/node-files.ts: FileSystem over `node:fs`, which Node, Deno and Bun all offer.
//
// Invariant: a write that reports success wrote every byte. POSIX allows short writes (a signal, a full disk), so each write loops until done and
// takes zero progress for an error; nothing is retried after an error, and a handle with calls under way is not closed under them
// (its number would be given to the next file that is opened).
import fs from 'node:fs'

import type { FileHandle, FileStat, FileSystem } from './world.ts'

/** The file system of this machine. Stateless; one object serves all worlds. */
export const nodeFiles: FileSystem = {
  open: (path, flags) =>
    new Promise((resolve, reject) => {
      fs.open(path, flags === 'wx' ? 'wx+' : flags, 0o666, (error, fd) => (error === null ? resolve(new NodeFileHandle(fd, path)) : reject(error)))
    }),
  openSync: (path, flags) => new NodeFileHandle(fs.openSync(path, flags === 'wx' ? 'wx+' : flags, 0o666), path),
  stat: (path) =>
    new Promise((resolve, reject) => {
      fs.stat(path, { bigint: true }, (error, stats) => (error === null ? resolve(toStat(stats)) : reject(error)))
    }),
  statSync: (path) => toStat(fs.statSync(path, { bigint: true })),
  readdir: (path) =>
    new Promise((resolve, reject) => {
      fs.readdir(path, { withFileTypes: true }, (error, entries) =>
        error === null ? resolve(entries.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }))) : reject(error),
      )
    }),
  mkdir: (path) => settle((done) => fs.mkdir(path, done)),
  mkdirSync: (path) => fs.mkdirSync(path),
  rmdir: (path) => settle((done) => fs.rmdir(path, done)),
  link: (from, to) => settle((done) => fs.link(from, to, done)),
  rename: (from, to) => settle((done) => fs.rename(from, to, done)),
  renameSync: (from, to) => fs.renameSync(from, to),
  unlink: (path) => settle((done) => fs.unlink(path, done)),
  unlinkSync: (path) => fs.unlinkSync(path),
  syncDir,
  syncDirSync,
}

class NodeFileHandle implements FileHandle {
  #fd: number
  #pending = 0
  #idle: (() => void) | undefined
  #closing: Promise<void> | undefined
  readonly #path: string

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
  }

  async read(at: number, into: Uint8Array): Promise<number> {
    let done = 0
    while (done < into.length) {
      const n = await this.#readSome(at + done, into, done)
      if (n === 0) break
      done += n
    }
    return done
  }

  readSync(at: number, into: Uint8Array): number {
    let done = 0
    while (done < into.length) {
      const n = fs.readSync(this.#open(), into, done, into.length - done, at + done)
      if (n === 0) break
      done += n
    }
    return done
  }

  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    if (this.#fd < 0) return queueMicrotask(() => done(this.#closed()))
    this.#pending++
    this.#writeFrom(0, at, bytes, done)
  }

  writeSync(at: number, bytes: Uint8Array): void {
    let from = 0
    while (from < bytes.length) {
      const n = fs.writeSync(this.#open(), bytes, from, bytes.length - from, at + from)
      if (n === 0) throw this.#noProgress(at + from)
      from += n
    }
  }

  datasync(done: (error: Error | null) => void): void {
    if (this.#fd < 0) return queueMicrotask(() => done(this.#closed()))
    this.#pending++
    fs.fdatasync(this.#fd, (error) => this.#finish(error, done))
  }

  datasyncSync(): void {
    fs.fdatasyncSync(this.#open())
  }

  sync(): Promise<void> {
    return this.#run((fd, done) => fs.fsync(fd, done))
  }

  truncate(size: number): Promise<void> {
    return this.#run((fd, done) => fs.ftruncate(fd, size, done))
  }

  truncateSync(size: number): void {
    fs.ftruncateSync(this.#open(), size)
  }

  stat(): Promise<FileStat> {
    return new Promise((resolve, reject) => {
      this.#pending++
      fs.fstat(this.#open(), { bigint: true }, (error, stats) => {
        this.#leave()
        if (error === null) resolve(toStat(stats))
        else reject(error)
      })
    })
  }

  statSync(): FileStat {
    return toStat(fs.fstatSync(this.#open(), { bigint: true }))
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  closeSync(): void {
    if (this.#fd < 0) return
    if (this.#pending > 0 || this.#closing !== undefined) throw withCode(new Error(`EBUSY: calls under way, close '${this.#path}'`), 'EBUSY')
    const fd = this.#fd
    this.#fd = -1
    fs.closeSync(fd)
  }

  async #closeOnce(): Promise<void> {
    if (this.#fd < 0) return
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    const fd = this.#fd
    this.#fd = -1
    await settle((done) => fs.close(fd, done))
  }

  #readSome(at: number, into: Uint8Array, from: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const fd = this.#open()
      this.#pending++
      fs.read(fd, into, from, into.length - from, at, (error, n) => {
        this.#leave()
        if (error === null) resolve(n)
        else reject(error)
      })
    })
  }

  #writeFrom(from: number, at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    fs.write(this.#fd, bytes, from, bytes.length - from, at + from, (error, n) => {
      if (error !== null) return this.#finish(error, done)
      if (from + n >= bytes.length) return this.#finish(null, done)
      if (n === 0) return this.#finish(this.#noProgress(at + from), done)
      return this.#writeFrom(from + n, at, bytes, done)
    })
  }

  #run(call: (fd: number, done: (error: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const fd = this.#open()
      this.#pending++
      call(fd, (error) => {
        this.#leave()
        if (error === null) resolve()
        else reject(error)
      })
    })
  }

  #finish(error: Error | null, done: (error: Error | null) => void): void {
    this.#leave()
    done(error)
  }

  #leave(): void {
    if (--this.#pending === 0 && this.#idle !== undefined) {
      const idle = this.#idle
      this.#idle = undefined
      idle()
    }
  }

  #open(): number {
    if (this.#fd < 0) throw this.#closed()
    return this.#fd
  }

  #closed(): Error {
    return withCode(new Error(`EBADF: handle is closed, '${this.#path}'`), 'EBADF')
  }

  #noProgress(at: number): Error {
    return withCode(new Error(`EIO: write made no progress at ${at}, '${this.#path}'`), 'EIO')
  }
}

/** fsync of a directory opened read-only. Windows refuses to open one: ENOTSUP. */
async function syncDir(path: string): Promise<void> {
  const fd = await new Promise<number>((resolve, reject) => {
    fs.open(path, 'r', (error, opened) => (error === null ? resolve(opened) : reject(asUnsupported(error))))
  })
  try {
    await settle((done) => fs.fsync(fd, done))
  } catch (error) {
    throw asUnsupported(error)
  } finally {
    await settle((done) => fs.close(fd, done))
  }
}

function syncDirSync(path: string): void {
  let fd: number
  try {
    fd = fs.openSync(path, 'r')
  } catch (error) {
    throw asUnsupported(error)
  }
  try {
    fs.fsyncSync(fd)
  } catch (error) {
    throw asUnsupported(error)
  } finally {
    fs.closeSync(fd)
  }
}

/** What platforms without directory sync answer: EISDIR or EPERM on Windows, EINVAL on some network file systems. */
function asUnsupported(error: unknown): unknown {
  const code = (error as { code?: unknown }).code
  const refused = code === 'EINVAL' || code === 'ENOSYS' || (process.platform === 'win32' && (code === 'EISDIR' || code === 'EPERM' || code === 'EACCES'))
  return refused ? withCode(new Error('ENOTSUP: directories cannot be synced here', { cause: error }), 'ENOTSUP') : error
}

function settle(call: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => call((error) => (error === null || error === undefined ? resolve() : reject(error))))
}

function toStat(stats: fs.BigIntStats): FileStat {
  return {
    size: Number(stats.size),
    identity: `${stats.dev}:${stats.ino}`,
    links: Number(stats.nlink),
    isDirectory: stats.isDirectory(),
    mtimeMs: Number(stats.mtimeMs),
  }
}

function withCode(error: Error, code: string): Error {
  return Object.assign(error, { code })
}
