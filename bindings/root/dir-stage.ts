// root/dir-stage.ts: how a local object comes to be: a temporary file beside its place, then its name in one step.
//
//   .<name>.<pid>-<n>.tmp  --write, fsync-->  --rename (replace) or link + unlink (create if absent)-->  <name>
//
// Invariant: a name is given only to a finished file whose bytes, and whose folders' names, are durable when `sync` was asked for. After any failure the temporary file
// is removed; one that outlives a crash or cannot be removed is invisible to lists and is swept when it is an hour old.
import { UnsupportedRootError } from '../errors.ts'
import { Mutex, type FileHandle, type FileStat, type FileSystem } from '../runtime/index.ts'

import { parentPath, type DirFolders } from './dir-folders.ts'
import { statOrNothing } from './dir-list.ts'
import { isFolder, removeSkeleton } from './dir-remove.ts'
import type { PutOptions } from './root.ts'
import { errnoOf } from './storage-error.ts'

const TEMP_STEM_CHARS = 40
const ZERO_CHUNK_BYTES = 1 << 20

export interface StagedFile {
  readonly temp: string
  readonly tag: string
  readonly size: number
}

export interface DirStageOptions {
  readonly files: FileSystem
  readonly folders: DirFolders
  /** Keeps the temporary names of two writers apart: process id and a random part (threads of one process share its id). */
  readonly writer: string
  /** Nobody else writes here: create-if-absent may do without hard links. */
  readonly exclusive: boolean
  /** For messages. */
  readonly url: string
}

export class DirStage {
  /** Set by the probe. */
  hardLink = true
  readonly #files: FileSystem
  readonly #folders: DirFolders
  readonly #o: DirStageOptions
  /** Without hard links, looking and renaming are two steps: one caller at a time. */
  readonly #alone = new Mutex()
  #count = 0

  constructor(o: DirStageOptions) {
    this.#files = o.files
    this.#folders = o.folders
    this.#o = o
  }

  /** A finished temporary file beside `path`, its folders settled. */
  async write(path: string, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, o: PutOptions | undefined): Promise<StagedFile> {
    o?.signal?.throwIfAborted()
    const { temp, handle } = await this.create(path)
    try {
      let size = 0
      for await (const part of parts) {
        o?.signal?.throwIfAborted()
        if (part.length > 0) await writeAll(handle, size, part)
        size += part.length
      }
      if (o?.sync !== false) await handle.sync()
      const tag = tagOf(await handle.stat())
      await handle.close()
      if (syncsName(o)) await this.#folders.settle(parentPath(path))
      o?.signal?.throwIfAborted()
      return { temp, tag, size }
    } catch (error) {
      await closeQuietly(handle)
      await this.drop(temp)
      throw error
    }
  }

  writeSync(path: string, bytes: Uint8Array, sync: boolean): StagedFile {
    const { temp, handle } = this.#createSync(path)
    try {
      try {
        handle.writeSync(0, bytes)
        if (sync) handle.datasyncSync()
        return { temp, tag: tagOf(handle.statSync()), size: bytes.length }
      } finally {
        handle.closeSync()
      }
    } catch (error) {
      this.dropSync(temp)
      throw error
    }
  }

  /** A new segment under its temporary name: zeros, synced, still open. */
  async writeZeros(path: string, size: number): Promise<{ temp: string; handle: FileHandle }> {
    const { temp, handle } = await this.create(path)
    try {
      const zeros = new Uint8Array(Math.min(size, ZERO_CHUNK_BYTES))
      for (let at = 0; at < size; at += zeros.length) await writeAll(handle, at, zeros.subarray(0, Math.min(zeros.length, size - at)))
      await handle.sync()
      await this.#folders.settle(parentPath(path))
      return { temp, handle }
    } catch (error) {
      await closeQuietly(handle)
      await this.drop(temp)
      throw error
    }
  }

  /** An empty file of a name that nobody else uses. */
  async create(path: string): Promise<{ temp: string; handle: FileHandle }> {
    for (;;) {
      const temp = this.#tempPath(path)
      try {
        return { temp, handle: await this.withFolder(temp, () => this.#files.open(temp, 'wx')) }
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error // left over by an earlier process of our id: take the next
      }
    }
  }

  /** Gives the file its name, whatever had it before. */
  async replace(temp: string, path: string, before?: () => Promise<void>): Promise<void> {
    try {
      await before?.()
      await this.#overSkeleton(path, () => this.#files.rename(temp, path))
    } catch (error) {
      await this.drop(temp)
      throw error
    }
  }

  replaceSync(temp: string, path: string): void {
    try {
      this.#files.renameSync(temp, path)
    } catch (error) {
      this.dropSync(temp)
      throw error
    }
  }

  /** Gives the file its name if that is free; the temporary name is gone afterwards. */
  async place(temp: string, path: string): Promise<'created' | 'exists'> {
    try {
      if (!this.hardLink) return await this.#placeAlone(temp, path)
      const status = await this.#overSkeleton(path, () => this.#linkFree(temp, path))
      // The object has its name: a temporary name that stays is the sweep's, not a failure of this call.
      await this.drop(temp)
      return status
    } catch (error) {
      await this.drop(temp)
      throw error
    }
  }

  /** A second name for a durable object, if that name is free. */
  async link(source: string, target: string, copy: () => Promise<Uint8Array>): Promise<'created' | 'exists'> {
    if (this.hardLink) return this.withFolder(target, () => this.#overSkeleton(target, () => this.#linkFree(source, target)))
    const made = await this.write(target, [await copy()], undefined)
    return this.place(made.temp, target)
  }

  /** Runs a call that needs the folder of `path`; when that is missing, makes it and tries again (a deletePrefix may take it away in between). */
  async withFolder<T>(path: string, call: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call()
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' || attempt === 8 || (attempt > 0 && (await isFolder(this.#files, parentPath(path))))) throw error
        await this.#folders.make(parentPath(path))
      }
    }
  }

  /** After a failure; what cannot be removed now the sweep removes later. */
  async drop(temp: string): Promise<void> {
    await this.#files.unlink(temp).catch(() => {})
  }

  dropSync(temp: string): void {
    try {
      this.#files.unlinkSync(temp)
    } catch {
      // as drop
    }
  }

  async #linkFree(from: string, path: string): Promise<'created' | 'exists'> {
    try {
      await this.#files.link(from, path)
      return 'created'
    } catch (error) {
      // A folder has the name: to a Root that is no object.
      if (errnoOf(error) !== 'EEXIST' || (await isFolder(this.#files, path))) throw error
      return 'exists'
    }
  }

  #placeAlone(temp: string, path: string): Promise<'created' | 'exists'> {
    if (!this.#o.exclusive) {
      const why = `${this.#o.url}: the file system has no hard links, which create-if-absent needs`
      throw new UnsupportedRootError(why, { details: { feature: 'hard-link' } })
    }
    return this.#alone.run(async () => {
      const found = await statOrNothing(this.#files, path)
      if (found !== undefined && !found.isDirectory) {
        await this.drop(temp)
        return 'exists'
      }
      await this.#overSkeleton(path, () => this.#files.rename(temp, path))
      return 'created'
    })
  }

  /** Empty folders do not exist: one in the way of an object is removed, and the call made again. */
  async #overSkeleton<T>(path: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      const code = errnoOf(error)
      if (code !== 'EISDIR' && code !== 'EEXIST' && code !== 'ENOTEMPTY') throw error
      if (!(await removeSkeleton(this.#files, this.#folders, path))) throw error
      return await call()
    }
  }

  #createSync(path: string): { temp: string; handle: FileHandle } {
    for (;;) {
      const temp = this.#tempPath(path)
      try {
        return { temp, handle: this.#files.openSync(temp, 'wx') }
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') this.#folders.makeSync(parentPath(path))
        else if (errnoOf(error) !== 'EEXIST') throw error
      }
    }
  }

  #tempPath(path: string): string {
    const at = path.lastIndexOf('/') + 1
    // A long name is cut, so that the temporary one stays a legal file name.
    const stem = path.length - at > TEMP_STEM_CHARS ? Array.from(path.slice(at)).slice(0, TEMP_STEM_CHARS).join('') : path.slice(at)
    return `${path.slice(0, at)}.${stem}.${this.#o.writer}${++this.#count}.tmp`
  }
}

/** Whether a put makes its name durable too, not only its bytes. */
export function syncsName(o: PutOptions | undefined): boolean {
  return o?.sync === undefined || o.sync === true
}

/** Equal for the same bytes of the same file; says nothing about which is newer. */
export function tagOf(stat: FileStat): string {
  return `${stat.identity}-${stat.size}-${stat.mtimeMs}`
}

export async function closeQuietly(handle: FileHandle): Promise<void> {
  await handle.close().catch(() => {}) // another error is on its way to the caller
}

function writeAll(handle: FileHandle, at: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => handle.write(at, bytes, (error) => (error === null ? resolve() : reject(error))))
}
