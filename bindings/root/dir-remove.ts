// root/dir-remove.ts: taking names away in a local root. A folder is no object: unlinking never touches one, and empty ones may go at any time.
//
// Invariant: what other writers create meanwhile stays: only files that were seen are unlinked, and only empty folders are removed.
import type { FileSystem } from '../runtime/index.ts'

import type { DirFolders } from './dir-folders.ts'
import { readFolder, statOrNothing } from './dir-list.ts'
import { isTemp } from './names.ts'
import { errnoOf } from './storage-error.ts'

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

/** Removes what is in a folder, temporary files and empty folders included; `count` is called for each object. */
export async function clearFolder(files: FileSystem, folders: DirFolders, dir: string, count: () => void, signal: AbortSignal | undefined): Promise<void> {
  for (const entry of await readFolder(files, dir)) {
    signal?.throwIfAborted()
    const path = `${dir}/${entry.name}`
    if (entry.isDirectory) {
      await clearFolder(files, folders, path, count, signal)
      await removeFolder(files, folders, path)
    } else if ((await unlinkObject(files, path)) && !isTemp(entry.name)) count()
  }
  await folders.sync(dir)
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
