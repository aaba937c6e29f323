// table/types-backup.ts: what a backup and a restore say. Types only.

import type { Digest, Lsn } from '../log/index.ts'
import type { Long, At, WriteId } from './types-read.ts'

export interface BackupOptions extends Long {
  /** The position it is made of: an LSN, "as it was then", or a tag. Default: everything committed and durable at the call. */
  at?: At
}

export interface RestoreOptions extends Long {
  /** Default: all that `from` holds. */
  at?: At
  /** The new store gets an id of its own. Default false: it is the same store, and the one that was backed up must not be written to any more. */
  newId?: boolean
  /** A Partial<World>, as for an open. */
  world?: object
}

export interface BackupReport {
  /** The position that the copy is whole up to. */
  lsn: Lsn
  /** digestAt(lsn): equal in the store and in the copy. */
  digest: Digest
  /** What the copy consists of. */
  files: number
  bytes: number
  /** Files that this run wrote. */
  copied: number
  copiedBytes: number
  /** Sealed writes that wait for somebody to publish them, with all their files. */
  pending: WriteId[]
  /** Sealed writes whose files are not in staging any more (they were decided after `lsn`): a store restored from here can only roll them back. */
  pendingLost: WriteId[]
}
