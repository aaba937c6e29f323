// root/root.ts: where bytes live. A Root is a flat name space of byte objects; it knows nothing of commits (roots.md).
//
// Invariant: create-if-absent is the only conditional primitive; when a call resolves every reader in every process sees all bytes, before that none.

import type { FileStat } from '../runtime/index.ts'

export interface RootCaps {
  readonly putIfAbsent: true
  readonly hardLink: boolean
  readonly segments: boolean
  readonly rangeRead: boolean
  /** A blocking range read is offered (memory, local). */
  readonly syncRead: boolean
  readonly syncDir: boolean
  readonly list: 'strong' | 'eventual'
  readonly conditionalReplace: boolean
}

export interface PutOptions {
  /** Default true: durable when the call resolves. `file`: the bytes are, the name is after syncDir() of its folder. */
  readonly sync?: boolean | 'file'
  readonly signal?: AbortSignal
  /** `put` only: called when the bytes are complete and durable, and the name still leads to what it led to before. */
  readonly beforeName?: () => Promise<void>
}

export type GetRange = { readonly start: number; readonly end: number } | { readonly suffix: number }

export interface GetOptions {
  readonly range?: GetRange
  /** The caller knows that this name never gets other bytes (content-addressed): a local root may keep its descriptor open between reads. */
  readonly immutable?: boolean
}

export interface ObjectInfo {
  readonly name: string
  readonly size: number
  readonly tag: string
  /** When it was stored, by the clock of the storage, unix ms; absent where that is not told. */
  readonly timeMs?: number
}

/** A WAL segment's own door: positional writes in place, data sync. Errors are StorageError. */
export interface SegmentFile {
  /** Bytes allocated (written with zeros and synced) when it was made. */
  readonly size: number
  read(at: number, into: Uint8Array): Promise<number>
  readSync(at: number, into: Uint8Array): number
  /** `bytes` must not change before `done`. */
  write(at: number, bytes: Uint8Array, done: (error: Error | null) => void): void
  writeSync(at: number, bytes: Uint8Array): void
  datasync(done: (error: Error | null) => void): void
  datasyncSync(): void
  truncate(size: number): Promise<void>
  close(): Promise<void>
  closeSync(): void
}

/** A held descriptor on a named object, to see whether the name still is the file we made (the LOCK check). */
export interface HeldObject {
  /** Synchronous and cheap: the name still leads to this very file. @throws StorageError when it cannot be told */
  isCurrent(): boolean
  stat(): FileStat | undefined
  close(): Promise<void>
  closeSync(): void
}

export interface Root extends AsyncDisposable {
  /** `memory:<name>`, `file:///path`; without credentials. */
  readonly url: string
  readonly caps: RootCaps
  /** @throws StorageError notFound; RangeError for a range beyond the end */
  get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }>
  /** Blocking form; memory and local roots only (`caps.syncRead`). */
  getSync(name: string, o?: GetOptions): { bytes: Uint8Array; tag: string }
  head(name: string): Promise<{ size: number; tag: string } | undefined>
  exists(name: string): Promise<boolean>
  put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }>
  putSync(name: string, bytes: Uint8Array, o?: PutOptions): { tag: string }
  putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions & { attempt?: Uint8Array }): Promise<{ status: 'created' | 'exists'; tag?: string }>
  /** Content-addressed names only. */
  putLarge(name: string, parts: AsyncIterable<Uint8Array>, o?: PutOptions): Promise<{ tag: string; size: number }>
  /**
   * Byte order of names, complete, `*.tmp` left out. `a/b` lists the object `a/b` and what is below `a/b/`; `a/b/` only the latter. Folders are read as
   * the iteration reaches them, so `list('', { after: 'LOCK.' })` that stops at the first other name reads no folder below the top.
   */
  list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo>
  /** `sync: false`: gone for every reader, but a power cut may bring some back until syncDir() of the folder. */
  delete(names: string | readonly string[], o?: { sync?: boolean }): Promise<void>
  deletePrefix(prefix: string, o?: { signal?: AbortSignal; onProgress?: (deleted: number) => void }): Promise<{ deleted: number }>
  // local and memory only
  link(from: string, to: string): Promise<{ status: 'created' | 'exists' }>
  rename(from: string, to: string): Promise<void>
  /** Creates `name` (StorageError exists when there) with `preallocate` written zero bytes, synced; or opens an existing segment with `open: true`. */
  segment(name: string, o: { preallocate: number } | { open: 'read' | 'write' }): Promise<SegmentFile>
  hold(name: string): Promise<HeldObject>
  syncDir(prefix: string): Promise<void>
  /** Looks what the place can do (read-write open); the verdict is in `caps` afterwards. Leaves nothing behind. */
  probe?(): Promise<RootCaps>
  /** Removes temporary files, and empty folders of staged writes, that crashed writers left, untouched since `beforeMs` (unix time): an hour ago is safe. Walks the whole root, or the folder `prefix`; for the background. */
  sweepTemporary?(beforeMs: number, o?: { signal?: AbortSignal; prefix?: string }): Promise<{ deleted: number }>
}
