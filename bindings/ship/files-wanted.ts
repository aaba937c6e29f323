// ship/files-wanted.ts: the files that arriving records name, with what they must contain.
//
// Invariant: a publish is told by its seal, so seals are kept from the record that brings them to the one that decides; names are made here, of digests, never
// taken from a peer.

import type { PendingSeal } from '../catalog/index.ts'
import { KIND_COMMIT, KIND_EPOCH, KIND_SCHEMA, NamedFiles, type StateRecord } from '../engine/index.ts'
import { fromHex, toHex } from '../format/index.ts'
import type { FileRef } from './types.ts'

export class FilesNamed {
  private readonly named = new NamedFiles()

  constructor(pending: Iterable<PendingSeal>) {
    for (const seal of pending) this.named.seals.set(toHex(seal.writeId), seal)
  }

  /** What the record needs; in log order, each record once. */
  of(record: StateRecord): readonly FileRef[] {
    if (namesNothing(record)) return NONE
    const { fragments, vectors } = this.named
    this.named.ofRecord(record)
    if (fragments.size === 0 && vectors.size === 0) return NONE
    const files: FileRef[] = []
    for (const [name, { file }] of fragments) files.push({ name, hash: fromHex(file.file.digest), bytes: file.file.bytes })
    for (const [name, { digest, bytes }] of vectors) files.push({ name, hash: fromHex(digest), bytes })
    fragments.clear()
    vectors.clear()
    return files
  }
}

const NONE: readonly FileRef[] = []

function namesNothing(record: StateRecord): boolean {
  if (record.kind !== KIND_COMMIT) return record.kind === KIND_EPOCH || record.kind === KIND_SCHEMA
  for (const { fragments, deletionVectors } of record.commit.changes) if (fragments !== undefined || deletionVectors !== undefined) return false
  return true
}
