// What is looked at in a store after a crash or an error, and what must hold of it whatever happened (recovery.md sections 2, 5, 6 and 18).
//
// The log is read here record by record, beside the store's own fold: who decided which write, and which files have a name.
import { expect } from 'vitest'

import type { ReadStore, Store, WriteId } from '../../bindings/index.ts'
import { decodeRecord, KIND_COMMIT, KIND_EPOCH, KIND_FLUSH, KIND_OPTIMIZE, KIND_PUBLISH, KIND_ROLLBACK, KIND_SEAL } from '../../bindings/engine/index.ts'
import { deletionVectorName, type DeletionVectorRef, filesOf, type FragmentRef, toHex, publishedCommit, type SealRecord } from '../../bindings/format/index.ts'
import type { CommitLog } from '../../bindings/log/index.ts'
import type { Root } from '../../bindings/root/index.ts'
import { ulidText } from '../../bindings/runtime/index.ts'
import { readRows, type Rows, textOf } from './crash-rows.ts'

export interface Decided {
  readonly lsn: number
  readonly outcome: 'published' | 'rolledBack'
  /** The record carries the facts of a recovery. */
  readonly recovered: boolean
}

export interface LogFacts {
  readonly head: number
  /** LSN of the record of each epoch. */
  readonly epochs: ReadonlyMap<number, number>
  /** Every outcome in log order, per write with an Intent. */
  readonly decided: ReadonlyMap<string, readonly Decided[]>
  readonly commits: ReadonlySet<string>
  readonly sealed: ReadonlySet<string>
  /** Files that a commit or flush names. */
  readonly named: ReadonlySet<string>
  /** Digests that a seal names which has no outcome. */
  readonly claimed: ReadonlySet<string>
}

export interface Look {
  readonly rows: Rows
  readonly text: string
  readonly held: readonly WriteId[]
  readonly files: readonly string[]
  readonly facts: LogFacts
  readonly audit: readonly string[]
}

/** @param isReadOnly  beside others: what is pending may be anything */
export async function lookAt(store: Store | ReadStore, root: Root): Promise<Look> {
  const rows = await readRows(store)
  const held = (await store.staged()).map(({ writeId }) => writeId)
  const audit: string[] = []
  for await (const row of store.audit()) if (row.kind !== 'epoch') audit.push(`${row.lsn} ${row.kind} ${row.by} ${row.writeId ?? ''} ${row.tables.join('+')}`)
  const { log } = (store as unknown as { o: { log: CommitLog } }).o
  return { rows, text: textOf(rows), held, files: await namesOf(root), facts: await factsOf(log), audit }
}

export async function namesOf(root: Root, prefix = ''): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list(prefix)) names.push(name)
  return names
}

/** The writes that have something in staging/. */
export function stagedIn(files: readonly string[]): string[] {
  return [...new Set(files.flatMap((name) => (name.startsWith('staging/') ? [name.split('/')[1]!] : [])))]
}

async function factsOf(log: CommitLog): Promise<LogFacts> {
  const epochs = new Map<number, number>()
  const decided = new Map<string, Decided[]>()
  const commits = new Set<string>()
  const seals = new Map<string, SealRecord>()
  const named = new Set<string>()
  const name = (fragments: readonly FragmentRef[] = [], vectors: readonly DeletionVectorRef[] = []): void => {
    for (const ref of fragments) for (const file of filesOf(ref)) named.add(file.name)
    for (const { digest, gen } of vectors) named.add(deletionVectorName(digest, gen))
  }
  const decide = (id: Uint8Array, outcome: Decided['outcome'], lsn: number, recovered: boolean): void => {
    const writeId = ulidText(id)
    decided.set(writeId, [...(decided.get(writeId) ?? []), { lsn, outcome, recovered }])
  }
  for await (const batch of log.read(log.tail, { end: log.head })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn)
      if (record.kind === KIND_EPOCH) epochs.set(record.epoch, lsn)
      else if (record.kind === KIND_SEAL) seals.set(toHex(record.seal.writeId), record.seal)
      else if (record.kind === KIND_COMMIT) {
        commits.add(ulidText(record.commit.writeId))
        for (const change of record.commit.changes) name(change.fragments, change.deletionVectors)
        if (record.commit.isArmed === true) decide(record.commit.writeId, 'published', lsn, false)
      } else if (record.kind === KIND_FLUSH) {
        name(record.flush.fragments, record.flush.deletionVectors)
        if (record.flush.writeId !== undefined) decide(record.flush.writeId, 'published', lsn, false)
      } else if (record.kind === KIND_OPTIMIZE) {
        for (const { fragments, reindexed } of record.optimize.parts) name([...fragments, ...reindexed.map(({ ref }) => ref)])
        decide(record.optimize.writeId, 'published', lsn, record.optimize.recovery !== undefined)
      } else if (record.kind === KIND_ROLLBACK) decide(record.rollback.writeId, 'rolledBack', lsn, record.rollback.recovery !== undefined)
      else if (record.kind === KIND_PUBLISH) {
        const { writeId } = record.publish.commit
        const seal = seals.get(toHex(writeId))!
        for (const change of publishedCommit(seal, record.publish).changes) name(change.fragments, change.deletionVectors)
        commits.add(ulidText(writeId))
        decide(writeId, 'published', lsn, record.publish.recovery !== undefined)
      }
      lsn++
    }
  }
  const claimed = new Set<string>()
  const sealed = new Set<string>()
  for (const { writeId, intent } of seals.values()) {
    sealed.add(ulidText(writeId))
    if (decided.has(ulidText(writeId))) continue
    for (const { files } of intent.participants) for (const { digest } of files) claimed.add(digest)
  }
  return { head: Number(log.head), epochs, decided, commits, sealed, named, claimed }
}

/** Files under their final names that nothing names. */
export function orphansOf({ files, facts }: Look): string[] {
  return files.filter((name) => {
    const digest = /^(?:fragments|indexes)\/..\/([0-9a-f]{64})/.exec(name)?.[1]
    return digest !== undefined && !facts.named.has(name) && !facts.claimed.has(digest)
  })
}

/** What any recovered store must be, whatever it recovered from. */
export async function checkWhole(store: Store, look: Look): Promise<void> {
  expect((await store.verify({ level: 'all' })).problems, 'verify').toEqual([])
  const { facts, files, held } = look
  for (const [writeId, outcomes] of facts.decided) {
    expect(outcomes, `write ${writeId} has one outcome`).toHaveLength(1)
    expect(await store.outcome(writeId as WriteId)).toBe(outcomes[0]!.outcome)
  }
  const pending = await store.pending()
  expect(pending.map(({ writeId, state, mode, decision }) => `${writeId} ${state} ${mode} ${decision.kind}`).sort(), 'pending').toEqual(
    held.map((writeId) => `${writeId} sealed hold keep`).sort(),
  )
  expect(stagedIn(files).sort(), 'staging/ holds nothing but what is undecided').toEqual([...held].sort())
  for (const writeId of held) expect(files, 'a held write keeps its INTENT').toContain(`staging/${writeId}/INTENT`)
  // A torn tail of the log is kept there; of a write nothing was damaged.
  expect(
    files.filter((name) => /^quarantine\/[0-9A-Z]{26}-/.test(name)),
    'quarantine',
  ).toEqual([])
  const recovered = look.audit.filter((row) => row.includes(' varve:recovery '))
  const told = [...facts.decided].filter(([, [only]]) => only!.recovered).map(([writeId]) => writeId)
  expect(recovered.map((row) => row.split(' ')[3]).sort(), 'one audit row for each recovered write').toEqual(told.sort())
}

/** Of a second look: nothing has moved but the epoch. */
export function checkSame(now: Look, before: Look): void {
  const stored = ({ files }: Look): string[] => files.filter((name) => /^(fragments|indexes|staging|quarantine|checkpoints)\//.test(name))
  expect(now.text, 'rows at the second open').toBe(before.text)
  expect(now.audit, 'audit at the second open').toEqual(before.audit)
  expect(stored(now), 'files at the second open').toEqual(stored(before))
}
