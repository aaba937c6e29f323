// root/dir-root.ts: a Root in a local directory (roots.md section 3). Writing is dir-stage.ts, listing dir-list.ts, removing dir-remove.ts, folders dir-folders.ts.
//
// Invariant: under a name there are always all bytes of one version, and a resolved synced call survives a power cut, its name and the folders above it
// included. Errors are StorageErrors by errno; permission, I/O and space are never taken for "not there".
import { InvalidConfigError, UnsupportedRootError, VarveError } from '../errors.ts'
import type { FileHandle, FileStat, FileSystem, World } from '../runtime/index.ts'

import { DirFolders, parentPath } from './dir-folders.ts'
import { hasObject, statOrNothing, walk } from './dir-list.ts'
import { toBasePath, toFileUrl } from './dir-path.ts'
import { clearFolder, removeFolder, sweepFolder, unlinkObject } from './dir-remove.ts'
import { DirHeld, DirSegment } from './dir-segment.ts'
import { closeQuietly, DirStage, syncsName, tagOf } from './dir-stage.ts'
import { HandleCache } from './handle-cache.ts'
import { checkName, checkPrefix, compareNames, isTemp } from './names.ts'
import { resolveRange } from './ranges.ts'
import type { GetOptions, HeldObject, ObjectInfo, PutOptions, Root, RootCaps, SegmentFile } from './root.ts'
import { errnoOf, storageError, toStorageError } from './storage-error.ts'

const COMPONENT_BYTES_MAX = 255 // NAME_MAX of Linux, macOS and NTFS (there in UTF-16 units)
const DELETES_AT_ONCE = 32
/** What link(2) answers where a file system has no hard links. */
const NO_LINK = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EACCES', 'EXDEV', 'EINVAL'])
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
  readonly #folders: DirFolders
  readonly #stage: DirStage
  readonly #kept = new HandleCache()
  readonly #writer: string
  #caps: RootCaps

  /** @param path absolute or relative to the working directory, or a file URL; made at the first write */
  constructor(path: string | URL, world: Pick<World, 'files' | 'host' | 'random'>, o: DirRootOptions = {}) {
    this.#base = toBasePath(path)
    this.url = toFileUrl(this.#base)
    this.#files = world.files
    this.#folders = new DirFolders(world.files, this.#base)
    this.#writer = `${world.host.pid}-${world.random.u32().toString(36)}-`
    this.#stage = new DirStage({ files: world.files, folders: this.#folders, writer: this.#writer, exclusive: o.exclusive ?? false, url: this.url })
    this.#caps = freezeCaps(true, true)
  }

  get caps(): RootCaps {
    const { hardLink, syncDir } = this.#caps
    if (hardLink !== this.#stage.hardLink || syncDir !== this.#folders.canSync) this.#caps = freezeCaps(this.#stage.hardLink, this.#folders.canSync)
    return this.#caps
  }

  /** The folder, absolute, without a slash at its end. */
  get path(): string {
    return this.#base
  }

  async get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    const path = this.#pathOf(name)
    o?.signal?.throwIfAborted()
    try {
      const keep = o?.immutable === true
      const kept = keep ? this.#kept.take(name) : undefined
      const born = kept?.born ?? this.#kept.generation
      const handle = kept?.handle ?? (await this.#files.open(path, 'r'))
      let stat = kept?.stat
      try {
        stat ??= await handle.stat()
        const { start, end } = checkFile('get', name, stat, o)
        const bytes = new Uint8Array(end - start)
        return checkRead(name, await handle.read(start, bytes), bytes, stat)
      } finally {
        if (keep && stat !== undefined && !stat.isDirectory) this.#kept.give(name, { handle, stat, born })
        else await handle.close()
      }
    } catch (error) {
      throw toStorageError('get', name, error)
    }
  }

  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string } {
    const path = this.#pathOf(name)
    try {
      const keep = o?.immutable === true
      const kept = keep ? this.#kept.take(name) : undefined
      const born = kept?.born ?? this.#kept.generation
      const handle = kept?.handle ?? this.#files.openSync(path, 'r')
      let stat = kept?.stat
      try {
        stat ??= handle.statSync()
        const { start, end } = checkFile('get', name, stat, o)
        const bytes = new Uint8Array(end - start)
        return checkRead(name, handle.readSync(start, bytes), bytes, stat)
      } finally {
        if (keep && stat !== undefined && !stat.isDirectory) this.#kept.give(name, { handle, stat, born })
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
    const { tag } = await this.#replace('put', name, [bytes], o)
    return { tag }
  }

  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string } {
    const path = this.#pathOf(name)
    const sync = syncsName(o)
    try {
      const { temp, tag } = this.#stage.writeSync(path, bytes, o?.sync !== false)
      try {
        if (sync) this.#folders.settleSync(parentPath(path))
      } catch (error) {
        this.#stage.dropSync(temp)
        throw error
      }
      this.#stage.replaceSync(temp, path)
      if (sync) this.#folders.syncSync(parentPath(path))
      return { tag }
    } catch (error) {
      throw writeError('put', name, error)
    }
  }

  async putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    const path = this.#pathOf(name)
    try {
      const { temp, tag } = await this.#stage.write(path, [bytes], o)
      const status = await this.#stage.place(temp, path)
      // Also when the name was taken: whoever is told so may build on it, and it may be his own, of an attempt whose last sync failed.
      if (syncsName(o)) await this.#folders.sync(parentPath(path))
      return status === 'created' ? { status, tag } : { status }
    } catch (error) {
      throw writeError('putIfAbsent', name, error)
    }
  }

  putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    return this.#replace('putLarge', name, parts, o)
  }

  async *list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    const { path: dir, childrenOnly } = checkPrefix(prefix)
    let limit = o?.limit ?? Infinity
    if (limit <= 0) return
    try {
      if (!childrenOnly && (o?.after === undefined || compareNames(o.after, dir) < 0)) {
        const stat = await statOrNothing(this.#files, `${this.#base}/${dir}`)
        if (stat !== undefined && !stat.isDirectory) {
          if (!isTemp(dir)) yield { name: dir, size: stat.size, tag: tagOf(stat), timeMs: stat.mtimeMs }
          return
        }
      }
      for await (const { name, stat } of walk(this.#files, this.#base, dir, { after: o?.after, limit, signal: o?.signal })) {
        yield { name, size: stat.size, tag: tagOf(stat), timeMs: stat.mtimeMs }
        if (--limit <= 0) return
      }
    } catch (error) {
      throw toStorageError('list', prefix, error)
    }
  }

  async delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void> {
    const all = (typeof names === 'string' ? [names] : names).map((name) => [name, this.#pathOf(name)] as const)
    const dirs = new Set<string>()
    const failed: Error[] = []
    const attempt = async (name: string, call: () => Promise<void>): Promise<void> => {
      try {
        await call()
      } catch (error) {
        failed.push(toStorageError('delete', name, error))
      }
    }
    const remove = async (path: string): Promise<void> => {
      await unlinkObject(this.#files, path)
      // Also when nothing was there: a process killed a moment ago may have unlinked it without a sync, and a power cut would bring it back.
      dirs.add(parentPath(path))
    }
    for (let i = 0; i < all.length && failed.length === 0; i += DELETES_AT_ONCE) {
      await Promise.all(all.slice(i, i + DELETES_AT_ONCE).map(([name, path]) => attempt(name, () => remove(path))))
    }
    // Also after a failure: what is gone is gone durably.
    this.#kept.drop()
    if (o?.sync === false) dirs.clear()
    for (const dir of dirs) await attempt(dir.slice(this.#base.length + 1), () => this.#folders.syncNearest(dir))
    if (failed[0] !== undefined) throw failed[0]
  }

  async deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }> {
    const { path: dir, childrenOnly } = checkPrefix(prefix)
    const path = this.#folderPath(dir)
    let deleted = 0
    const count = (): void => {
      deleted++
      o?.onProgress?.(deleted)
    }
    try {
      const stat = await statOrNothing(this.#files, path)
      if (stat?.isDirectory === true) {
        await clearFolder({ files: this.#files, folders: this.#folders, dir: path, keep: dir === '', count, signal: o?.signal })
      } else if (stat !== undefined && !childrenOnly && (await unlinkObject(this.#files, path))) count()
      // As in delete: what is found gone is made durably gone.
      if (dir !== '') await this.#folders.syncNearest(parentPath(path))
      return { deleted }
    } catch (error) {
      throw toStorageError('deletePrefix', prefix, error)
    } finally {
      this.#kept.drop()
    }
  }

  async link(from: string, to: string): Promise<{ status: 'created' | 'exists' }> {
    const [source, target] = [this.#pathOf(from), this.#pathOf(to)]
    try {
      await this.#mustBeObject('link', from, source)
      const status = await this.#stage.link(source, target, async () => (await this.get(from)).bytes)
      await this.#settleName(target)
      return { status }
    } catch (error) {
      throw writeError('link', to, error)
    }
  }

  async rename(from: string, to: string): Promise<void> {
    const [source, target] = [this.#pathOf(from), this.#pathOf(to)]
    try {
      const { identity } = await this.#mustBeObject('rename', from, source)
      if (source === target) return
      // Between folders a power cut may keep the end of the old name and lose the new one: the new one is made durable first, where it replaces nothing.
      if (parentPath(source) !== parentPath(target) && this.caps.hardLink && (await this.link(from, to)).status === 'created') {
        await this.#files.unlink(source)
        this.#kept.drop()
        return await this.#folders.sync(parentPath(source))
      }
      await this.#stage.withFolder(target, () => this.#files.rename(source, target))
      // Where both were names of one file (a crash amid an earlier rename leaves that), POSIX does nothing and keeps both.
      if ((await statOrNothing(this.#files, source))?.identity === identity) await this.#files.unlink(source)
      this.#kept.drop()
      // The target's side first: between the two syncs the file has two names rather than none.
      await this.#settleName(target)
      if (parentPath(source) !== parentPath(target)) await this.#folders.sync(parentPath(source))
    } catch (error) {
      throw writeError('rename', to, error)
    }
  }

  async segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile> {
    const path = this.#pathOf(name)
    if ('open' in o) {
      const { handle, stat } = await this.#openObject('segment', name, path, o.open === 'read' ? 'r' : 'r+')
      return new DirSegment(handle, name, stat.size)
    }
    try {
      const { temp, handle } = await this.#stage.writeZeros(path, o.preallocate)
      try {
        const status = await this.#stage.place(temp, path)
        await this.#folders.sync(parentPath(path))
        if (status === 'exists') throw storageError('segment', name, 'exists', 'the name is taken')
        return new DirSegment(handle, name, o.preallocate)
      } catch (error) {
        await closeQuietly(handle)
        throw error
      }
    } catch (error) {
      throw writeError('segment', name, error)
    }
  }

  async hold(name: string): Promise<HeldObject> {
    const path = this.#pathOf(name)
    const { handle, stat } = await this.#openObject('hold', name, path, 'r')
    return new DirHeld(this.#files, path, name, handle, stat.identity)
  }

  async syncDir(prefix: string): Promise<void> {
    const path = this.#folderPath(checkPrefix(prefix).path)
    try {
      await this.#folders.settle(path)
      await this.#folders.sync(path)
    } catch (error) {
      throw toStorageError('syncDir', prefix, error)
    }
  }

  /** Positional writes, hard link and directory sync, tried on a file of ours under `probe/`. */
  async probe(): Promise<RootCaps> {
    const dir = `${this.#base}/probe`
    try {
      const { temp, handle } = await this.#stage.create(`${dir}/probe`)
      const second = `${temp}-2.tmp`
      try {
        handle.writeSync(8, encoder.encode('after'))
        handle.writeSync(0, encoder.encode('before--'))
        const back = new Uint8Array(13)
        if (handle.readSync(0, back) !== 13 || new TextDecoder().decode(back) !== 'before--after') {
          throw new UnsupportedRootError(`${this.url}: positional writes do not land where they should`, { details: { feature: 'positional-write' } })
        }
        this.#stage.hardLink = await this.#canLink(temp, second)
        await this.#folders.sync(dir)
      } finally {
        await closeQuietly(handle)
        await this.#stage.drop(second)
        await this.#stage.drop(temp)
        await removeFolder(this.#files, this.#folders, dir)
      }
      return this.caps
    } catch (error) {
      if (errnoOf(error) === 'ENOTDIR') {
        throw new InvalidConfigError(`${this.url} cannot be a folder: a file is in its way`, {
          details: { key: 'path', value: this.url },
          hint: 'Name a folder, or one that can be made.',
          cause: error,
        })
      }
      throw writeError('probe', 'probe', error)
    }
  }

  async sweepTemporary(beforeMs: number, o?: { signal?: AbortSignal; prefix?: string }): Promise<{ deleted: number }> {
    const dir = o?.prefix === undefined ? this.#base : this.#folderPath(checkPrefix(o.prefix).path)
    try {
      return { deleted: await sweepFolder(this.#files, this.#folders, dir, beforeMs, o?.signal) }
    } catch (error) {
      throw toStorageError('sweepTemporary', '', error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#kept.drop()
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

  #folderPath(prefix: string): string {
    return prefix === '' ? this.#base : `${this.#base}/${prefix}`
  }

  async #replace(op: string, name: string, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }> {
    const path = this.#pathOf(name)
    try {
      const { temp, tag, size } = await this.#stage.write(path, parts, o)
      await this.#stage.replace(temp, path, o?.beforeName)
      if (syncsName(o)) await this.#folders.sync(parentPath(path))
      return { tag, size }
    } catch (error) {
      throw writeError(op, name, error)
    }
  }

  /** The name and the folders above it are durable. */
  async #settleName(path: string): Promise<void> {
    await this.#folders.settle(parentPath(path))
    await this.#folders.sync(parentPath(path))
  }

  async #mustBeObject(op: string, name: string, path: string): Promise<FileStat> {
    const stat = await statOrNothing(this.#files, path)
    if (stat === undefined || stat.isDirectory) throw storageError(op, name, 'notFound', 'no such object')
    return stat
  }

  async #openObject(op: string, name: string, path: string, flags: 'r' | 'r+'): Promise<{ handle: FileHandle; stat: FileStat }> {
    try {
      const handle = await this.#files.open(path, flags)
      try {
        const stat = await handle.stat()
        checkFile(op, name, stat, undefined)
        return { handle, stat }
      } catch (error) {
        await closeQuietly(handle)
        throw error
      }
    } catch (error) {
      throw errnoOf(error) === 'EISDIR' ? storageError(op, name, 'notFound', 'a folder is not an object', error) : toStorageError(op, name, error)
    }
  }

  async #canLink(from: string, to: string): Promise<boolean> {
    try {
      await this.#files.link(from, to)
      const [one, two] = [await this.#files.stat(from), await this.#files.stat(to)]
      return one.identity === two.identity && two.links === 2
    } catch (error) {
      if (NO_LINK.has(errnoOf(error) ?? '')) return false
      throw error
    }
  }
}

/** Writes that meet a file where a folder should be, or the other way round, ask for something this kind of root cannot hold. */
function writeError(op: string, name: string, error: unknown): Error {
  const code = errnoOf(error)
  const clash = !(error instanceof VarveError) && (code === 'ENOTDIR' || code === 'EISDIR' || code === 'ENOTEMPTY' || code === 'EEXIST')
  return clash ? storageError(op, name, 'unsupported', 'an object and a folder of one name', error) : toStorageError(op, name, error)
}

function checkFile(op: string, name: string, stat: FileStat, o: GetOptions | undefined): { start: number; end: number } {
  if (stat.isDirectory) throw storageError(op, name, 'notFound', 'a folder is not an object')
  return resolveRange(name, stat.size, o?.range)
}

function checkRead(name: string, read: number, bytes: Uint8Array, stat: FileStat): { bytes: Uint8Array; tag: string } {
  if (read !== bytes.length) throw storageError('get', name, 'unavailable', `${read} of ${bytes.length} bytes: the file shrank while it was read`)
  return { bytes, tag: tagOf(stat) }
}

function freezeCaps(hardLink: boolean, syncDir: boolean): RootCaps {
  return Object.freeze({ putIfAbsent: true, hardLink, segments: true, rangeRead: true, syncRead: true, syncDir, list: 'strong', conditionalReplace: false })
}
