// root/dir-list.ts: walking a local root in the byte order of names, one folder at a time.
//
// Invariant: a folder sorts as its name plus `/`, so that a depth-first walk gives whole names in order ("a-b" before "a/x" before "a0"), and a
// folder is read only when the walk reaches it. What vanishes between reading a folder and looking at the file was deleted and is left out.
import type { FileStat, FileSystem } from '../runtime/index.ts'

import { compareNames, isTemp } from './names.ts'
import { errnoOf } from './storage-error.ts'

const STATS_AT_ONCE = 32

export interface WalkEntry {
  readonly name: string
  readonly stat: FileStat
}

interface WalkOptions {
  /** Only names after this one. */
  readonly after?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** No more than this many are wanted: saves looking at files that nobody asks for. */
  readonly limit?: number | undefined
}

/** Every file below the folder `dir` of the root (empty: the root), temporary ones left out. */
export async function* walk(files: FileSystem, base: string, dir: string, o: WalkOptions): AsyncGenerator<WalkEntry> {
  const pathOf = (name: string): string => `${base}/${name}`
  const lead = dir === '' ? '' : `${dir}/`
  const entries = await readFolder(files, dir === '' ? base : pathOf(dir))
  const keys = entries.map((entry) => (entry.isDirectory ? `${lead}${entry.name}/` : lead + entry.name)).sort(compareNames)
  let left = o.limit ?? Infinity
  for (let i = 0; i < keys.length && left > 0;) {
    o.signal?.throwIfAborted()
    const key = keys[i]!
    if (key.endsWith('/')) {
      i++
      // A folder wholly before `after` is not read: its last possible name is smaller.
      if (o.after !== undefined && !o.after.startsWith(key) && compareNames(key, o.after) < 0) continue
      for await (const entry of walk(files, base, key.slice(0, -1), { ...o, limit: left })) {
        left--
        yield entry
      }
      continue
    }
    const run: string[] = []
    for (; i < keys.length && run.length < Math.min(STATS_AT_ONCE, left) && !keys[i]!.endsWith('/'); i++) {
      if (!isTemp(keys[i]!) && (o.after === undefined || compareNames(keys[i]!, o.after) > 0)) run.push(keys[i]!)
    }
    const stats = await Promise.all(run.map((name) => statOrNothing(files, pathOf(name))))
    for (const [j, stat] of stats.entries()) {
      if (stat === undefined) continue
      left--
      yield { name: run[j]!, stat }
    }
  }
}

/** Whether any object is below the folder. */
export async function hasObject(files: FileSystem, dir: string): Promise<boolean> {
  const folders: string[] = []
  for (const entry of await readFolder(files, dir)) {
    if (entry.isDirectory) folders.push(`${dir}/${entry.name}`)
    else if (!isTemp(entry.name)) return true
  }
  for (const folder of folders) if (await hasObject(files, folder)) return true
  return false
}

/** Nothing when the folder is not there or is a file. */
export async function readFolder(files: FileSystem, dir: string): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]> {
  try {
    return await files.readdir(dir)
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}

export async function statOrNothing(files: FileSystem, path: string): Promise<FileStat | undefined> {
  try {
    return await files.stat(path)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

function isAbsent(error: unknown): boolean {
  const code = errnoOf(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}
