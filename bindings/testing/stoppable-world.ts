// testing/stoppable-world.ts: a World that a crash point really stops: files, timers and workers answer nobody any more.
//
// What a killed process looks like from inside: calls under way never settle, timers never fire, a blocking call does not come back (it throws, since a
// JavaScript frame cannot be parked). Effects that had left the process may still happen, as they may on a real machine.
// Invariant: while no failpoint is armed every call goes through as it is, in the same turn.
import { FailpointError, type Failpoints, type FileHandle, type FileStat, type FileSystem, type World } from '../runtime/index.ts'

/** The same world, dead once its failpoints say `stopped`. */
export function stoppable(world: World): World {
  const { failpoints, network, timers, workers } = world
  return {
    ...world,
    files: new StoppableFiles(world.files, failpoints),
    timers: {
      set: (ms, fn) => timers.set(ms, () => (failpoints.stopped ? undefined : fn())),
      clear: (handle) => timers.clear(handle),
      sleep: (ms, signal, keepAlive) => alive(failpoints, () => timers.sleep(ms, signal, keepAlive)),
    },
    workers: {
      threads: workers.threads,
      run: (task, o) => alive(failpoints, () => workers.run(task, o)),
      close: () => workers.close(),
    },
    network: {
      connect: (address, o) => alive(failpoints, () => network.connect(address, o)),
      listen: (address, o) => alive(failpoints, () => network.listen(address, o)),
    },
  }
}

/** The promise of a call; never settled when the world has stopped before or meanwhile. */
function alive<T>(failpoints: Failpoints, call: () => Promise<T>): Promise<T> {
  if (!failpoints.active) return call()
  return new Promise((resolve, reject) => {
    if (failpoints.stopped) return
    call().then(
      (value) => (failpoints.stopped ? undefined : resolve(value)),
      (error: unknown) => (failpoints.stopped ? undefined : reject(error as Error)),
    )
  })
}

function check(failpoints: Failpoints): void {
  if (failpoints.stopped) throw new FailpointError('the world has stopped')
}

class StoppableFiles implements FileSystem {
  readonly #files: FileSystem
  readonly #points: Failpoints

  constructor(files: FileSystem, points: Failpoints) {
    this.#files = files
    this.#points = points
  }

  async open(path: string, flags: 'r' | 'r+' | 'wx'): Promise<FileHandle> {
    return new StoppableHandle(await alive(this.#points, () => this.#files.open(path, flags)), this.#points)
  }

  openSync(path: string, flags: 'r' | 'r+' | 'wx'): FileHandle {
    check(this.#points)
    return new StoppableHandle(this.#files.openSync(path, flags), this.#points)
  }

  stat(path: string): Promise<FileStat> {
    return alive(this.#points, () => this.#files.stat(path))
  }

  statSync(path: string): FileStat {
    check(this.#points)
    return this.#files.statSync(path)
  }

  readdir(path: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]> {
    return alive(this.#points, () => this.#files.readdir(path))
  }

  mkdir(path: string): Promise<void> {
    return alive(this.#points, () => this.#files.mkdir(path))
  }

  mkdirSync(path: string): void {
    check(this.#points)
    this.#files.mkdirSync(path)
  }

  rmdir(path: string): Promise<void> {
    return alive(this.#points, () => this.#files.rmdir(path))
  }

  link(from: string, to: string): Promise<void> {
    return alive(this.#points, () => this.#files.link(from, to))
  }

  rename(from: string, to: string): Promise<void> {
    return alive(this.#points, () => this.#files.rename(from, to))
  }

  renameSync(from: string, to: string): void {
    check(this.#points)
    this.#files.renameSync(from, to)
  }

  unlink(path: string): Promise<void> {
    return alive(this.#points, () => this.#files.unlink(path))
  }

  unlinkSync(path: string): void {
    check(this.#points)
    this.#files.unlinkSync(path)
  }

  syncDir(path: string): Promise<void> {
    return alive(this.#points, () => this.#files.syncDir(path))
  }

  syncDirSync(path: string): void {
    check(this.#points)
    this.#files.syncDirSync(path)
  }
}

class StoppableHandle implements FileHandle {
  readonly #handle: FileHandle
  readonly #points: Failpoints

  constructor(handle: FileHandle, points: Failpoints) {
    this.#handle = handle
    this.#points = points
  }

  read(at: number, into: Uint8Array): Promise<number> {
    return alive(this.#points, () => this.#handle.read(at, into))
  }

  readSync(at: number, into: Uint8Array): number {
    check(this.#points)
    return this.#handle.readSync(at, into)
  }

  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    if (!this.#points.stopped) this.#handle.write(at, bytes, this.#told(done))
  }

  writeSync(at: number, bytes: Uint8Array): void {
    check(this.#points)
    this.#handle.writeSync(at, bytes)
  }

  datasync(done: (error: Error | null) => void): void {
    if (!this.#points.stopped) this.#handle.datasync(this.#told(done))
  }

  datasyncSync(): void {
    check(this.#points)
    this.#handle.datasyncSync()
  }

  sync(): Promise<void> {
    return alive(this.#points, () => this.#handle.sync())
  }

  truncate(size: number): Promise<void> {
    return alive(this.#points, () => this.#handle.truncate(size))
  }

  truncateSync(size: number): void {
    check(this.#points)
    this.#handle.truncateSync(size)
  }

  stat(): Promise<FileStat> {
    return alive(this.#points, () => this.#handle.stat())
  }

  statSync(): FileStat {
    check(this.#points)
    return this.#handle.statSync()
  }

  close(): Promise<void> {
    return alive(this.#points, () => this.#handle.close())
  }

  closeSync(): void {
    check(this.#points)
    this.#handle.closeSync()
  }

  #told(done: (error: Error | null) => void): (error: Error | null) => void {
    return (error) => {
      if (!this.#points.stopped) done(error)
    }
  }
}
