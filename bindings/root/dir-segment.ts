// root/dir-segment.ts: a WAL segment as a local file: positional writes into preallocated bytes, data sync, and a held descriptor for the LOCK.
//
// Invariant: a descriptor whose sync failed is never synced again: Linux reports a lost page once and calls it clean afterwards (fsyncgate, 2018),
// so that a second sync would report success over lost bytes.
import type { FileHandle, FileStat, FileSystem } from '../runtime/index.ts'

import type { HeldObject, SegmentFile } from './root.ts'
import { errnoOf, storageError, toStorageError } from './storage-error.ts'

type Done = (error: Error | null) => void

export class DirSegment implements SegmentFile {
  readonly size: number
  readonly #handle: FileHandle
  readonly #name: string
  #syncFailed: Error | undefined

  constructor(handle: FileHandle, name: string, size: number) {
    this.#handle = handle
    this.#name = name
    this.size = size
  }

  async read(at: number, into: Uint8Array): Promise<number> {
    try {
      return await this.#handle.read(at, into)
    } catch (error) {
      throw toStorageError('segment.read', this.#name, error)
    }
  }

  readSync(at: number, into: Uint8Array): number {
    return this.#guard('segment.read', () => this.#handle.readSync(at, into))
  }

  write(at: number, bytes: Uint8Array, done: Done): void {
    this.#handle.write(at, bytes, (error) => done(error === null ? null : toStorageError('segment.write', this.#name, error)))
  }

  writeSync(at: number, bytes: Uint8Array): void {
    this.#guard('segment.write', () => this.#handle.writeSync(at, bytes))
  }

  datasync(done: Done): void {
    if (this.#syncFailed !== undefined) {
      const failed = this.#syncFailed
      return queueMicrotask(() => done(failed))
    }
    this.#handle.datasync((error) => done(error === null ? null : this.#failSync(error)))
  }

  datasyncSync(): void {
    if (this.#syncFailed !== undefined) throw this.#syncFailed
    try {
      this.#handle.datasyncSync()
    } catch (error) {
      throw this.#failSync(error)
    }
  }

  async truncate(size: number): Promise<void> {
    try {
      await this.#handle.truncate(size)
    } catch (error) {
      throw toStorageError('segment.truncate', this.#name, error)
    }
  }

  async close(): Promise<void> {
    try {
      await this.#handle.close()
    } catch (error) {
      throw toStorageError('segment.close', this.#name, error)
    }
  }

  closeSync(): void {
    this.#guard('segment.close', () => this.#handle.closeSync())
  }

  #failSync(error: unknown): Error {
    this.#syncFailed = storageError('segment.datasync', this.#name, 'io', `${errnoOf(error) ?? 'failed'}; this descriptor is not synced again`, error)
    return this.#syncFailed
  }

  #guard<T>(op: string, call: () => T): T {
    try {
      return call()
    } catch (error) {
      throw toStorageError(op, this.#name, error)
    }
  }
}

/** While we hold the descriptor its inode number is not given to another file: equal identity of the path means our very file. */
export class DirHeld implements HeldObject {
  readonly #files: FileSystem
  readonly #path: string
  readonly #name: string
  readonly #handle: FileHandle
  readonly #identity: string
  #open = true

  constructor(files: FileSystem, path: string, name: string, handle: FileHandle, identity: string) {
    this.#files = files
    this.#path = path
    this.#name = name
    this.#handle = handle
    this.#identity = identity
  }

  isCurrent(): boolean {
    if (!this.#open) return false
    try {
      const found = this.#files.statSync(this.#path)
      return found.identity === this.#identity && found.links > 0
    } catch (error) {
      const code = errnoOf(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return false
      throw toStorageError('hold', this.#name, error)
    }
  }

  stat(): FileStat | undefined {
    if (!this.#open) return undefined
    try {
      return this.#handle.statSync()
    } catch (error) {
      throw toStorageError('hold', this.#name, error)
    }
  }

  async close(): Promise<void> {
    this.#open = false
    try {
      await this.#handle.close()
    } catch (error) {
      throw toStorageError('hold', this.#name, error)
    }
  }

  closeSync(): void {
    this.#open = false
    try {
      this.#handle.closeSync()
    } catch (error) {
      throw toStorageError('hold', this.#name, error)
    }
  }
}
