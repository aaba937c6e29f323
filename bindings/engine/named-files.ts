// engine/named-files.ts: the content-addressed files that records and catalogs name: what verify reads, a backup copies and a vacuum may not take.
//
// Invariant: every kind of record that names a file is known here; the seal of a publish must have been handed in before it, or stand in a catalog.

import type { Catalog } from '../catalog/index.ts'
import {
  type CommitRecord,
  deletionVectorName,
  type DeletionVectorRef,
  filesOf,
  type FragmentFile,
  type FragmentRef,
  publishedCommit,
  type SealRecord,
  toHex,
} from '../format/index.ts'
import { KIND_COMMIT, KIND_FLUSH, KIND_OPTIMIZE, KIND_PUBLISH, KIND_ROLLBACK, KIND_SEAL, type StateRecord } from './state.ts'

export class NamedFiles {
  /** Fragments and indexes by file name, with a reference that names them. */
  readonly fragments: Map<string, { readonly file: FragmentFile; readonly ref: FragmentRef }> = new Map()
  /** Deletion vectors by file name. */
  readonly vectors: Map<string, DeletionVectorRef> = new Map()
  /** Seals that no record handed in has decided, by writeId in hex. Their files have no content address yet. */
  readonly seals: Map<string, SealRecord> = new Map()

  /** A record as it stands in the log. */
  ofRecord(record: StateRecord): void {
    if (record.kind === KIND_SEAL) this.seals.set(toHex(record.seal.writeId), record.seal)
    else if (record.kind === KIND_ROLLBACK) this.seals.delete(toHex(record.rollback.writeId))
    else if (record.kind === KIND_FLUSH) this.add(record.flush.fragments, record.flush.deletionVectors)
    else if (record.kind === KIND_OPTIMIZE) {
      for (const { fragments, reindexed } of record.optimize.parts) this.add([...fragments, ...reindexed.map(({ ref }) => ref)], [])
      this.seals.delete(toHex(record.optimize.writeId))
    } else if (record.kind === KIND_COMMIT) this.ofCommit(record.commit)
    else if (record.kind === KIND_PUBLISH) {
      const id = toHex(record.publish.commit.writeId)
      const seal = this.seals.get(id)
      // The seal of a publish may be trimmed: then a checkpoint names its files.
      if (seal !== undefined) this.ofCommit(publishedCommit(seal, record.publish))
      this.seals.delete(id)
    }
  }

  /** What the tables of a state consist of. */
  ofCatalog({ tables }: Catalog): void {
    for (const { fragments } of tables.values()) for (const { ref, vector } of fragments) this.add([ref], vector === undefined ? [] : [vector])
  }

  private ofCommit({ changes }: CommitRecord): void {
    for (const change of changes) this.add(change.fragments ?? [], change.deletionVectors ?? [])
  }

  private add(refs: readonly FragmentRef[], vectors: readonly DeletionVectorRef[]): void {
    for (const ref of refs) for (const file of filesOf(ref)) this.fragments.set(file.name, { file, ref })
    for (const vector of vectors) this.vectors.set(deletionVectorName(vector.digest, vector.gen), vector)
  }
}
