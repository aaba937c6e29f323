// engine/record-files.ts: the content-addressed files that a record names, and what happens to a write whose files a vacuum has named (recovery.md section 10).
//
// Invariant: no record that names a dead file enters the log; whoever meets one gives its files other names and queues again.

import { ContentionError } from '../errors.ts'
import {
  deletionVectorName,
  type DeletionVectorRef,
  filesOf,
  type FragmentRef,
  fragmentName,
  indexName,
  type Intent,
  type TableChange,
} from '../format/index.ts'
import { KIND_COMMIT, KIND_FLUSH, KIND_OPTIMIZE, KIND_SEAL, type StateRecord } from './state.ts'

/** Times that a write gives its files new names because a vacuum took the ones before. */
const ROUNDS = 8

/** A record names files that a vacuum may be deleting. Never leaves the engine: the write is queued again under other names. */
export class DeadFiles extends Error {
  constructor(names: readonly string[]) {
    super(`a vacuum may be deleting ${names[0]}${names.length > 1 ? ` and ${names.length - 1} others` : ''}`)
  }
}

/** Every file that the record names; of a publish what it is resolved to. */
export function namesOf(record: StateRecord): string[] {
  switch (record.kind) {
    case KIND_COMMIT:
      return record.commit.changes.flatMap(namesOfChange)
    case KIND_FLUSH:
      return [...namesOfRefs(record.flush.fragments), ...namesOfVectors(record.flush.deletionVectors)]
    case KIND_OPTIMIZE:
      return record.optimize.parts.flatMap(({ fragments, reindexed }) => namesOfRefs([...fragments, ...reindexed.map(({ ref }) => ref)]))
    case KIND_SEAL:
      return [...record.seal.changes.flatMap(namesOfChange), ...namesOfIntent(record.seal.intent)]
    default:
      return []
  }
}

export function namesOfChange({ fragments, deletionVectors }: TableChange): string[] {
  if (fragments === undefined && deletionVectors === undefined) return []
  return [...namesOfRefs(fragments ?? []), ...namesOfVectors(deletionVectors ?? [])]
}

export function namesOfRefs(refs: readonly FragmentRef[]): string[] {
  return refs.flatMap((ref) => filesOf(ref).map(({ name }) => name))
}

export function namesOfVectors(vectors: readonly DeletionVectorRef[]): string[] {
  return vectors.map(({ digest, gen }) => deletionVectorName(digest, gen))
}

/** As staged: promotion may choose other generations, which the publish record states. */
export function namesOfIntent({ participants }: Pick<Intent, 'participants'>): string[] {
  const names: string[] = []
  for (const { files } of participants) {
    for (const { role, digest, gen } of files) {
      if (role === 'fragment') names.push(fragmentName(digest, gen))
      else if (role === 'index') names.push(indexName(digest, gen))
      else if (role === 'deletions') names.push(deletionVectorName(digest, gen))
    }
  }
  return names
}

/** Runs a promotion and the queueing behind it, again for as long as a vacuum takes the names. @throws ContentionError */
export async function whileAlive<T>(promoteAndQueue: () => Promise<T>): Promise<T> {
  for (let round = 0; ; round++) {
    try {
      return await promoteAndQueue()
    } catch (error) {
      if (!(error instanceof DeadFiles)) throw error
      if (round >= ROUNDS) throw new ContentionError(`${error.message}, for the ${round + 1}th time`, { details: { rounds: round + 1 }, cause: error })
    }
  }
}
