// root/dir-remove.ts: taking names away in a local root. A folder is no object: unlinking never touches one, and empty ones may go at any time.
//
// Invariant: what other writers create meanwhile stays: only files that were seen are unlinked, and only empty folders are removed.
import type { FileSystem } from '../runtime/index.ts'

import type { DirFolders } from './dir-folders.ts'
import { readFolder, statOrNothing } from './dir-list.ts'
import { isTemp } from './names.ts'
import { errnoOf } from './storage-error.ts'

/** What dir-stage.ts calls its files: an object that a user named `x.tmp` is none of them. */
const TEMP_NAME = /^\..*\.\d+-[0-9a-z]+-\d+\.tmp(-2\.tmp)?$/

/** True when a file was removed; a missing name and a folder are no objects. */
export async function unlinkObject(files: FileSystem, path: string): Promise<boolean> {
  try {
    await files.unlink(path)
    return true
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    // POSIX says EPERM for a folder, Linux EISDIR.
    if ((code === 'EISDIR' || code === 'EPERM') && (await isFolder(files, path))) return false
    throw error
  }
}

/**
 * Removes a folder with all that is in it, temporary files and empty folders included; `count` is called for each object. Where the folder stays (something came in, or
 * `keep`) its unlinks are synced here; where it goes, the sync of the folder above covers them.
 */
export async function clearFolder(o: {
  readonly files: FileSystem
  readonly folders: DirFolders
  readonly dir: string
  readonly keep: boolean
  readonly count: () => void
  readonly signal: AbortSignal | undefined
}): Promise<void> {
  for (const entry of await readFolder(o.files, o.dir)) {
    o.signal?.throwIfAborted()
    const path = `${o.dir}/${entry.name}`
    if (entry.isDirectory) await clearFolder({ ...o, dir: path, keep: false })
    else if ((await unlinkObject(o.files, path)) && !isTemp(entry.name)) o.count()
  }
  if (o.keep || !(await removeFolder(o.files, o.folders, o.dir))) await o.folders.syncNearest(o.dir)
}

/** Folders that a killed process may leave empty, and that nobody but their owner ever writes to. */
const OWNED = /\/staging\/[^/]+$/

/** Removes temporary files, and empty folders of staged writes, not touched since `beforeMs` (wall clock, as the file system keeps it): what crashed writers left. Returns how many. */
export async function sweepFolder(files: FileSystem, folders: DirFolders, dir: string, beforeMs: number, signal: AbortSignal | undefined): Promise<number> {
  let removed = 0
  for (const entry of await readFolder(files, dir)) {
    signal?.throwIfAborted()
    const path = `${dir}/${entry.name}`
    if (entry.isDirectory) {
      const isOld = OWNED.test(path) && ((await statOrNothing(files, path))?.mtimeMs ?? beforeMs) < beforeMs
      removed += await sweepFolder(files, folders, path, beforeMs, signal)
      if (isOld && (await removeFolder(files, folders, path))) removed++
    } else if (TEMP_NAME.test(entry.name)) {
      const stat = await statOrNothing(files, path)
      if (stat !== undefined && stat.mtimeMs < beforeMs && (await unlinkObject(files, path))) removed++
    }
  }
  return removed
}

/** True when the folder was removed; false when it is not empty or not there. */
export async function removeFolder(files: FileSystem, folders: DirFolders, path: string): Promise<boolean> {
  folders.forget(path)
  try {
    await files.rmdir(path)
    return true
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'EBUSY') return false
    throw error
  }
}

/** A folder without objects stands where an object wants to be: removes it and the empty ones below. True when it is gone. */
export async function removeSkeleton(files: FileSystem, folders: DirFolders, dir: string): Promise<boolean> {
  if (!(await isFolder(files, dir))) return false
  for (const entry of await readFolder(files, dir)) if (entry.isDirectory) await removeSkeleton(files, folders, `${dir}/${entry.name}`)
  return removeFolder(files, folders, dir)
}

export async function isFolder(files: FileSystem, path: string): Promise<boolean> {
  return (await statOrNothing(files, path))?.isDirectory === true
}
