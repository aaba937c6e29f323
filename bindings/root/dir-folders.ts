// root/dir-folders.ts: the folders of a local root: made when first needed, their names synced into their parents.
//
// Invariant: after settle(dir) a power cut keeps the folder and its parents up to the root. A folder found in place may have been made a moment before by
// a process that was killed before its sync, so that the first use in this process syncs the chain once; on a settled file system this costs microseconds.
import type { FileSystem } from '../runtime/index.ts'

import { errnoOf } from './storage-error.ts'

export class DirFolders {
  readonly #files: FileSystem
  readonly #base: string
  readonly #settled = new Set<string>()
  /** False once the platform refused to sync a directory. */
  canSync = true

  /** @param base absolute path of the root, without a slash at its end */
  constructor(files: FileSystem, base: string) {
    this.#files = files
    this.#base = base
  }

  /** Makes the folder and what is missing above it, each synced into its parent. */
  async make(dir: string): Promise<void> {
    try {
      await this.#files.mkdir(dir)
    } catch (error) {
      const code = errnoOf(error)
      if (code === 'ENOENT' && parentPath(dir) !== dir) {
        await this.make(parentPath(dir))
        try {
          await this.#files.mkdir(dir)
        } catch (again) {
          if (errnoOf(again) !== 'EEXIST') throw again
        }
      } else if (code !== 'EEXIST') throw error
    }
    this.#settled.delete(dir)
    if (parentPath(dir) !== dir) await this.sync(parentPath(dir))
    if (dir.length <= this.#base.length || this.#settled.has(parentPath(dir))) this.#settled.add(dir)
  }

  makeSync(dir: string): void {
    try {
      this.#files.mkdirSync(dir)
    } catch (error) {
      const code = errnoOf(error)
      if (code === 'ENOENT' && parentPath(dir) !== dir) {
        this.makeSync(parentPath(dir))
        try {
          this.#files.mkdirSync(dir)
        } catch (again) {
          if (errnoOf(again) !== 'EEXIST') throw again
        }
      } else if (code !== 'EEXIST') throw error
    }
    this.#settled.delete(dir)
    if (parentPath(dir) !== dir) this.syncSync(parentPath(dir))
    if (dir.length <= this.#base.length || this.#settled.has(parentPath(dir))) this.#settled.add(dir)
  }

  /** The folder's own name is durable, and those above it in the root. */
  async settle(dir: string): Promise<void> {
    if (this.#settled.has(dir)) return
    if (dir === this.#base) await this.#settleBase()
    else {
      await this.settle(parentPath(dir))
      await this.sync(parentPath(dir))
    }
    this.#settled.add(dir)
  }

  settleSync(dir: string): void {
    if (this.#settled.has(dir)) return
    if (dir === this.#base) {
      try {
        this.syncSync(parentPath(dir))
      } catch (error) {
        if (!isForeign(error)) throw error
      }
    } else {
      this.settleSync(parentPath(dir))
      this.syncSync(parentPath(dir))
    }
    this.#settled.add(dir)
  }

  /** The folder was removed: whoever makes it again syncs again. */
  forget(dir: string): void {
    this.#settled.delete(dir)
  }

  async sync(dir: string): Promise<void> {
    if (!this.canSync) return
    try {
      await this.#files.syncDir(dir)
    } catch (error) {
      if (errnoOf(error) !== 'ENOTSUP') throw error
      this.canSync = false
    }
  }

  /** Syncs the folder, or the first one above it that is there: also the removal of what is found missing may not be durable yet. */
  async syncNearest(dir: string): Promise<void> {
    try {
      await this.sync(dir)
    } catch (error) {
      const code = errnoOf(error)
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
      if (dir.length > this.#base.length) await this.syncNearest(parentPath(dir))
    }
  }

  syncSync(dir: string): void {
    if (!this.canSync) return
    try {
      this.#files.syncDirSync(dir)
    } catch (error) {
      if (errnoOf(error) !== 'ENOTSUP') throw error
      this.canSync = false
    }
  }

  /** The root's own folder was there before us; what is above it may be another user's, who lets nobody read it. */
  async #settleBase(): Promise<void> {
    try {
      await this.sync(parentPath(this.#base))
    } catch (error) {
      if (!isForeign(error)) throw error
    }
  }
}

export function parentPath(path: string): string {
  const at = path.lastIndexOf('/')
  return at <= 0 ? '/' : path.slice(0, at)
}

function isForeign(error: unknown): boolean {
  const code = errnoOf(error)
  return code === 'EACCES' || code === 'EPERM'
}
