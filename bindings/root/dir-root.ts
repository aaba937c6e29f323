// root/dir-root.ts: a Root in a local directory (roots.md section 3).
//
// An object is written to `.<name>.<pid>-<n>.tmp` beside its place, synced, and then given its name in one step: rename (put) or link (create-if-absent);
// then the directory is synced. Invariant: under a final name there are always all bytes of one version, and a resolved synced call survives a power cut,
// its name and the folders above it included.
import { UnsupportedRootError } from '../errors.ts'
import type { FileHandle, FileStat, FileSystem, World } from '../runtime/index.ts'

import { DirFolders, parentPath } from './dir-folders.ts'
import { hasObject, readFolder, statOrNothing, walk } from './dir-list.ts'
import { toBasePath, toFileUrl } from './dir-path.ts'
import { DirHeld, DirSegment } from './dir-segment.ts'
import { HandleCache } from './handle-cache.ts'
import { checkName, checkPrefix, compareNames } from './names.ts'
import { resolveRange } from './ranges.ts'
import type { GetOptions, HeldObject, ObjectInfo, PutOptions, Root, RootCaps, SegmentFile } from './root.ts'
import { errnoOf, storageError, toStorageError } from './storage-error.ts'

const COMPONENT_BYTES_MAX = 255 // NAME_MAX of Linux, macOS and NTFS (there in UTF-16 units)
const TEMP_STEM_CHARS = 40
const ZERO_CHUNK_BYTES = 1 << 20
const DELETES_AT_ONCE = 32
const encoder = new TextEncoder()

export interface DirRootOptions {
  /** The caller knows that nobody else writes here: lets create-if-absent do without hard links (exists-check, then rename). */
  readonly exclusive?: boolean
}

/** @example const root = new DirRoot('./data', defaultWorld()) */
export class DirRoot implements Root {
  readonly url: string
  readonly #base: string
  readonly #files: FileSystem
  readonly #world: Pick<World, 'files' | 'host' | 'random'>
  readonly #folders: DirFolders
  readonly #exclusive: boolean
  readonly #open: HandleCache
  readonly #tempTag: string
  #caps: RootCaps
  #tempCount = 0

  /** @param path absolute or relative to the working directory; made at the first write */
  constructor(path: string | URL, world: Pick<World, 'files' | 'host' | 'random'>, o: DirRootOptions = {}) {
    this.#base = toBasePath(path)
    this.url = toFileUrl(this.#base)
    this.#world = world
    this.#files = world.files
    this.#folders = new DirFolders(world.files, this.#base)
    this.#exclusive = o.exclusive ?? false
    this.#open = new HandleCache()
    // Threads of one process share its id: a random part keeps their names apart.
    this.#tempTag = world.random.u32().toString(36)
    this.#caps = freezeCaps(true, true)
  }

  get caps(): RootCaps {
    return this.#folders.canSync === this.#caps.syncDir ? this.#caps : (this.#caps = freezeCaps(this.#caps.hardLink, this.#folders.canSync))
  }

  /** The folder, absolute, without a slash at its end. */
  get path(): string {
    return this.#base
  }

  async get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    const path = this.#pathOf(name)
    o?.signal?.throwIfAborted()
    try {
      const kept = o?.immutable === true ? this.#open.take(name) : undefined
      const handle = kept?.handle ?? (await this.#files.open(path, 'r'))
      let stat = kept?.stat
      try {
        stat ??= await handle.stat()
        const { start, end } = checkFile(name, stat, o)
        const bytes = new Uint8Array(end - start)
        const n = await handle.read(start, bytes)
        if (n !== bytes.length) throw storageError('get', name, 'unavailable', `${n} of ${bytes.length} bytes: the file shrank while it was read`)
        return { bytes, tag: tagOf(stat) }
      } finally {
        if (o?.immutable === true && stat !== undefined && !stat.isDirectory) this.#open.give(name, { handle, stat })
        else await handle.close()
      }
    } catch (error) {
      throw toStorageError('get', name, error)
    }
  }

  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string } {
    const path = this.#pathOf(name)
    try {
      const kept = o?.immutable === true ? this.#open.take(name) : undefined
      const handle = kept?.handle ?? this.#files.openSync(path, 'r')
      let stat = kept?.stat
      try {
        stat ??= handle.statSync()
        const { start, end } = checkFile(name, stat, o)
        const bytes = new Uint8Array(end - start)
        const n = handle.readSync(start, bytes)
        if (n !== bytes.length) throw storageError('get', name, 'unavailable', `${n} of ${bytes.length} bytes: the file shrank while it was read`)
        return { bytes, tag: tagOf(stat) }
      } finally {
        if (o?.immutable === true && stat !== undefined && !stat.isDirectory) this.#open.give(name, { handle, stat })
        else handle.closeSync()
      }
    } catch (error) {
      throw toStorageError('get', name, error)
    }
  }

  async head(name: string): Promise<{ size: number; tag: string } | undefined> {
    try {
      const stat = await statOrNothing(this.#files, this.#pathOf(name))
      return stat === undefined || stat.isDirectory ? undefined : { size: stat.size, tag: tagOf(stat) }
    } catch (error) {
      throw toStorageError('head', name, error)
    }
  }

  async exists(name: string): Promise<boolean> {
    const path = this.#pathOf(name)
    try {
      const stat = await statOrNothing(this.#files, path)
      return stat !== undefined && (!stat.isDirectory || (await hasObject(this.#files, path)))
    } catch (error) {
      throw toStorageError('exists', name, error)
    }
  }

  async put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    const path = this.#pathOf(name)
    return this.#writing('put', name, async () => {
      const made = await this.#stage(path, once(bytes), o)
      await this.#orDrop(made.temp, () => this.#files.rename(made.temp, path))
      if (o?.sync !== false) await this.#folders.sync(parentPath(path))
      return { tag: made.tag }
    })
  }

  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string } {
    const path = this.#pathOf(name)
    const sync = o?.sync !== false
    let temp: string | undefined
    try {
      const made = this.#createTempSync(path)
      temp = made.temp
      let tag: string
      try {
        made.handle.writeSync(0, bytes)
        if (sync) made.handle.datasyncSync()
        tag = tagOf(made.handle.statSync())
      } finally {
        made.handle.closeSync()
      }
      if (sync) this.#folders.settleSync(parentPath(path))
      this.#files.renameSync(temp, path)
      temp = undefined
      if (sync) this.#folders.syncSync(parentPath(path))
      return { tag }
    } catch (error) {
      if (temp !== undefined) this.#dropSync(temp)
      throw writeError('put', name, error)
    }
  }

  async putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    const path = this.#pathOf(name)
    return this.#writing('putIfAbsent', name, async () => {
      const dir = parentPath(path)
      const made = await this.#stage(path, once(bytes), o)
      const status = await this.#orDrop(made.temp, () => this.#place(made.temp, path))
      // Also when the name was taken: whoever is told so may build on it, and it may be his own, of an attempt whose last sync failed.
      if (o?.sync !== false) await this.#folders.sync(dir)
      return status === 'created' ? { status, tag: made.tag } : { status }
    })
  }

  async putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    const path = this.#pathOf(name)
    return this.#writing('putLarge', name, async () => {
      const made = await this.#stage(path, parts, o)
      await this.#orDrop(made.temp, () => this.#files.rename(made.temp, path))
      if (o?.sync !== false) await this.#folders.sync(parentPath(path))
      return { tag: made.tag, size: made.size }
    })
  }

  async *list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    const { path: dir, childrenOnly } = checkPrefix(prefix)
    let limit = o?.limit ?? Infinity
    if (limit <= 0) return
    try {
      if (!childrenOnly && (o?.after === undefined || compareNames(o.after, dir) < 0)) {
        const stat = await statOrNothing(this.#files, `${this.#base}/${dir}`)
        if (stat !== undefined && !stat.isDirectory) {
          if (!dir.endsWith('.tmp')) yield { name: dir, size: stat.size, tag: tagOf(stat) }
          return
        }
      }
      for await (const { name, stat } of walk(this.#files, this.#base, dir, { after: o?.after, limit, signal: o?.signal })) {
        yield { name, size: stat.size, tag: tagOf(stat) }
        if (--limit <= 0) return
      }
    } catch (error) {
      throw toStorageError('list', prefix, error)
    }
  }

  async delete(names: string | readonly string[]): Promise<void> {
    const all = typeof names === 'string' ? [names] : names
    const paths = all.map((name) => [name, this.#pathOf(name)] as const)
    const dirs = new Set<string>()
    for (let i = 0; i < paths.length; i += DELETES_AT_ONCE) {
      await Promise.all(
        paths.slice(i, i + DELETES_AT_ONCE).map(async ([name, path]) => {
          this.#open.drop(name)
          try {
            if (await this.#unlink(path)) dirs.add(parentPath(path))
          } catch (error) {
            throw toStorageError('delete', name, error)
          }
        }),
      )
    }
    for (const dir of dirs) {
      try {
        await this.#folders.sync(dir)
      } catch (error) {
        throw toStorageError('delete', dir, error)
      }
    }
  }

  async deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }> {
    const { path: dir, childrenOnly } = checkPrefix(prefix)
    let deleted = 0
    const count = (): void => {
      deleted++
      o?.onProgress?.(deleted)
    }
    this.#open.drop()
    try {
      const path = dir === '' ? this.#base : `${this.#base}/${dir}`
      const stat = await statOrNothing(this.#files, path)
      if (stat === undefined) return { deleted }
      if (!stat.isDirectory) {
        if (!childrenOnly && (await this.#unlink(path))) {
          await this.#folders.sync(parentPath(path))
          count()
        }
        return { deleted }
      }
      await this.#clear(path, count, o?.signal)
      if (dir !== '' && (await this.#removeFolder(path))) await this.#folders.sync(parentPath(path))
      return { deleted }
    } catch (error) {
      throw toStorageError('deletePrefix', prefix, error)
    }
  }

  async link(from: string, to: string): Promise<{ status: 'created' | 'exists' }> {
    const [source, target] = [this.#pathOf(from), this.#pathOf(to)]
    return this.#writing('link', to, async () => {
      const status = await this.#withFolder(target, () => this.#linkObject(from, source, target))
      await this.#folders.settle(parentPath(target))
      await this.#folders.sync(parentPath(target))
      return { status }
    })
  }

  async rename(from: string, to: string): Promise<void> {
    const [source, target] = [this.#pathOf(from), this.#pathOf(to)]
    await this.#writing('rename', to, async () => {
      const stat = await statOrNothing(this.#files, source)
      if (stat === undefined || stat.isDirectory) throw storageError('rename', from, 'notFound', 'no such object')
      await this.#withFolder(target, () => this.#files.rename(source, target))
      this.#open.drop(from)
      this.#open.drop(to)
      // The target's side first: between the two syncs the file has two names rather than none.
      await this.#folders.settle(parentPath(target))
      await this.#folders.sync(parentPath(target))
      if (parentPath(source) !== parentPath(target)) await this.#folders.sync(parentPath(source))
    })
  }

  async segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile> {
    const path = this.#pathOf(name)
    return this.#writing('segment', name, async () => {
      if ('open' in o) {
        const handle = await this.#files.open(path, o.open === 'read' ? 'r' : 'r+')
        try {
          const stat = await handle.stat()
          checkFile(name, stat, undefined)
          return new DirSegment(handle, name, stat.size)
        } catch (error) {
          await handle.close()
          throw error
        }
      }
      const { temp, handle } = await this.#createTemp(path)
      try {
        await writeZeros(handle, o.preallocate)
        await handle.sync()
        await this.#folders.settle(parentPath(path))
        if ((await this.#place(temp, path)) === 'exists') throw storageError('segment', name, 'exists', 'the name is taken')
        await this.#folders.sync(parentPath(path))
        return new DirSegment(handle, name, o.preallocate)
      } catch (error) {
        await closeQuietly(handle)
        await this.#drop(temp)
        throw error
      }
    })
  }

  async hold(name: string): Promise<HeldObject> {
    const path = this.#pathOf(name)
    try {
      const handle = await this.#files.open(path, 'r')
      try {
        const stat = await handle.stat()
        checkFile(name, stat, undefined)
        return new DirHeld(this.#files, path, name, handle, stat.identity)
      } catch (error) {
        await handle.close()
        throw error
      }
    } catch (error) {
      throw toStorageError('hold', name, error)
    }
  }

  async syncDir(prefix: string): Promise<void> {
    const { path: dir } = checkPrefix(prefix)
    try {
      const path = dir === '' ? this.#base : `${this.#base}/${dir}`
      await this.#folders.settle(path)
      await this.#folders.sync(path)
    } catch (error) {
      throw toStorageError('syncDir', prefix, error)
    }
  }

  /** Hard link, directory sync and positional writes, tried on a file of ours under `probe/`. */
  async probe(): Promise<RootCaps> {
    const dir = `${this.#base}/probe`
    return this.#writing('probe', 'probe', async () => {
      const path = `${dir}/${this.#tempTag}-${this.#world.host.pid}-${++this.#tempCount}`
      const handle = await this.#withFolder(path, () => this.#files.open(path, 'wx'))
      try {
        handle.writeSync(8, encoder.encode('after'))
        handle.writeSync(0, encoder.encode('before--'))
        const back = new Uint8Array(13)
        if (handle.readSync(0, back) !== 13 || new TextDecoder().decode(back) !== 'before--after') {
          throw new UnsupportedRootError(`${this.url}: positional writes do not land where they should`, { details: { feature: 'positional-write' } })
        }
        const hardLink = await this.#probeLink(path, `${path}-2`)
        await this.#folders.sync(dir)
        this.#caps = freezeCaps(hardLink, this.#folders.canSync)
      } finally {
        await handle.close()
        await this.#unlink(path)
        await this.#unlink(`${path}-2`)
        await this.#removeFolder(dir)
      }
      return this.caps
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open.drop()
  }

  #pathOf(name: string): string {
    checkName(name)
    for (const part of name.length > COMPONENT_BYTES_MAX / 3 ? name.split('/') : []) {
      if (part.length * 3 > COMPONENT_BYTES_MAX && encoder.encode(part).length > COMPONENT_BYTES_MAX) {
        throw storageError('name', name, 'unsupported', `a part is longer than ${COMPONENT_BYTES_MAX} bytes`)
      }
    }
    return `${this.#base}/${name}`
  }

  /** A finished temporary file beside `path`, its folders settled: what remains is to give it the name. */
  async #stage(
    path: string,
    parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    o: PutOptions | undefined,
  ): Promise<{ temp: string; tag: string; size: number }> {
    o?.signal?.throwIfAborted()
    const { temp, handle } = await this.#createTemp(path)
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
      if (o?.sync !== false) await this.#folders.settle(parentPath(path))
      o?.signal?.throwIfAborted()
      return { temp, tag, size }
    } catch (error) {
      await closeQuietly(handle)
      await this.#drop(temp)
      throw error
    }
  }

  async #createTemp(path: string): Promise<{ temp: string; handle: FileHandle }> {
    for (;;) {
      const temp = this.#tempPath(path)
      try {
        return { temp, handle: await this.#withFolder(temp, () => this.#files.open(temp, 'wx')) }
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error // left over by a process of our id: take the next
      }
    }
  }

  #createTempSync(path: string): { temp: string; handle: FileHandle } {
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
    const stem = path.length - at > TEMP_STEM_CHARS ? [...path.slice(at)].slice(0, TEMP_STEM_CHARS).join('') : path.slice(at)
    return `${path.slice(0, at)}.${stem}.${this.#world.host.pid}-${this.#tempTag}${++this.#tempCount}.tmp`
  }

  /** Gives a finished file its name if that is free; the temporary name is gone afterwards. */
  async #place(temp: string, path: string): Promise<'created' | 'exists'> {
    if (this.#caps.hardLink) {
      try {
        await this.#files.link(temp, path)
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
        await this.#files.unlink(temp)
        return 'exists'
      }
      await this.#files.unlink(temp)
      return 'created'
    }
    if (!this.#exclusive) throw noHardLinks(this.url)
    if ((await statOrNothing(this.#files, path)) !== undefined) {
      await this.#files.unlink(temp)
      return 'exists'
    }
    await this.#files.rename(temp, path)
    return 'created'
  }

  async #linkObject(from: string, source: string, target: string): Promise<'created' | 'exists'> {
    const stat = await statOrNothing(this.#files, source)
    if (stat === undefined || stat.isDirectory) throw storageError('link', from, 'notFound', 'no such object')
    if (!this.#caps.hardLink) {
      if (!this.#exclusive) throw noHardLinks(this.url)
      if ((await statOrNothing(this.#files, target)) !== undefined) return 'exists'
      const made = await this.#stage(target, once((await this.get(from)).bytes), undefined)
      await this.#orDrop(made.temp, () => this.#files.rename(made.temp, target))
      return 'created'
    }
    try {
      await this.#files.link(source, target)
      return 'created'
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return 'exists'
      throw error
    }
  }

  async #probeLink(from: string, to: string): Promise<boolean> {
    try {
      await this.#files.link(from, to)
      const [one, two] = [await this.#files.stat(from), await this.#files.stat(to)]
      return one.identity === two.identity && two.links === 2
    } catch (error) {
      if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EACCES', 'EXDEV', 'EINVAL'].includes(errnoOf(error) ?? '')) return false
      throw error
    }
  }

  /** Runs a call that needs the folder of `path`; when that is missing, makes it and tries again (a deletePrefix may take it away in between). */
  async #withFolder<T>(path: string, call: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call()
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' || attempt === 8 || (attempt > 0 && (await statOrNothing(this.#files, parentPath(path))) !== undefined)) throw error
        await this.#folders.make(parentPath(path))
      }
    }
  }

  /** True when a file was removed; a missing name and a folder are no objects. */
  async #unlink(path: string): Promise<boolean> {
    try {
      await this.#files.unlink(path)
      return true
    } catch (error) {
      const code = errnoOf(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return false
      if ((code === 'EISDIR' || code === 'EPERM') && (await statOrNothing(this.#files, path))?.isDirectory === true) return false
      throw error
    }
  }

  /** Removes what is in a folder, temporary files and empty folders included; what comes in meanwhile stays. */
  async #clear(dir: string, count: () => void, signal: AbortSignal | undefined): Promise<void> {
    for (const entry of await readFolder(this.#files, dir)) {
      signal?.throwIfAborted()
      const path = `${dir}/${entry.name}`
      if (entry.isDirectory) {
        await this.#clear(path, count, signal)
        await this.#removeFolder(path)
      } else if ((await this.#unlink(path)) && !entry.name.endsWith('.tmp')) count()
    }
    await this.#folders.sync(dir)
  }

  async #removeFolder(path: string): Promise<boolean> {
    this.#folders.forget(path)
    try {
      await this.#files.rmdir(path)
      return true
    } catch (error) {
      const code = errnoOf(error)
      if (code === 'ENOENT' || code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'EBUSY') return false
      throw error
    }
  }

  async #writing<T>(op: string, name: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      throw writeError(op, name, error)
    }
  }

  async #orDrop<T>(temp: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      await this.#drop(temp)
      throw error
    }
  }

  /** After a failure; what cannot be removed now the sweep removes later. */
  async #drop(temp: string): Promise<void> {
    await this.#files.unlink(temp).catch(() => {})
  }

  #dropSync(temp: string): void {
    try {
      this.#files.unlinkSync(temp)
    } catch {
      // as #drop
    }
  }
}

/** Writes that meet a file where a folder should be, or the other way round, ask for something this kind of root cannot hold. */
function writeError(op: string, name: string, error: unknown): Error {
  const code = errnoOf(error)
  if (code === 'ENOTDIR' || code === 'EISDIR' || code === 'ENOTEMPTY') {
    return storageError(op, name, 'unsupported', 'an object and a folder of one name', error)
  }
  return toStorageError(op, name, error)
}

function checkFile(name: string, stat: FileStat, o: GetOptions | undefined): { start: number; end: number } {
  if (stat.isDirectory) throw storageError('get', name, 'notFound', 'a folder is not an object')
  return resolveRange(name, stat.size, o?.range)
}

function writeAll(handle: FileHandle, at: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => handle.write(at, bytes, (error) => (error === null ? resolve() : reject(error))))
}

async function writeZeros(handle: FileHandle, size: number): Promise<void> {
  const zeros = new Uint8Array(Math.min(size, ZERO_CHUNK_BYTES))
  for (let at = 0; at < size; at += zeros.length) await writeAll(handle, at, zeros.subarray(0, Math.min(zeros.length, size - at)))
}

async function closeQuietly(handle: FileHandle): Promise<void> {
  await handle.close().catch(() => {}) // another error is on its way to the caller
}

function* once(bytes: Uint8Array): Iterable<Uint8Array> {
  yield bytes
}

function tagOf(stat: FileStat): string {
  return `${stat.identity}-${stat.size}-${stat.mtimeMs}`
}

function noHardLinks(url: string): UnsupportedRootError {
  return new UnsupportedRootError(`${url}: the file system has no hard links, which create-if-absent needs`, { details: { feature: 'hard-link' } })
}

function freezeCaps(hardLink: boolean, syncDir: boolean): RootCaps {
  return Object.freeze({ putIfAbsent: true, hardLink, segments: true, rangeRead: true, syncRead: true, syncDir, list: 'strong', conditionalReplace: false })
}
