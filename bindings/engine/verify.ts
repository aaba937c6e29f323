// engine/verify.ts: checks everything a store has: the chain of the log, what records say, checkpoints, fragments, indexes, deletion vectors.
//
// Invariant: it never throws for what it finds; whatever it could not check is a problem, not a silence.

import { Catalog, checkpointBody, checkpointName } from '../catalog/index.ts'
import { CorruptionError, VarveError } from '../errors.ts'
import { type FragmentFile, type FragmentRef, toHex } from '../format/index.ts'
import { checkSorted, decodeKeyIndex } from '../indexes/index.ts'
import { chainDigest, Coverage, sha256 } from '../kernels/index.ts'
import type { CommitLog, Digest, Lsn } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { Progress } from '../table/index.ts'
import { listCheckpoints, newestCheckpoint, readCheckpoint } from './checkpoints.ts'
import { neededFiles } from './name-walk.ts'
import { NamedFiles } from './named-files.ts'
import { decodeRecord, type StateContext, StoreState } from './state.ts'

export interface VerifyProblem {
  code: string
  file: string
  offset?: number
  lsn?: Lsn
  message: string
}

export interface VerifyOptions {
  readonly level: 'log' | 'files' | 'all'
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((p: Omit<Progress, 'elapsedMs'>) => void) | undefined
  /** A backup: checkpoints above its end were left by a run that was cut off, and nobody reads them. */
  readonly isBackup?: boolean
  /** As the log folds to at its head, asked when files are missing: what a vacuum took is no loss, be it while this went on. */
  readonly catalog: () => Promise<Pick<Catalog, 'branches' | 'fragmentFloor'>>
}

export interface VerifyOutcome {
  readonly lsn: Lsn
  readonly digest: Digest
  readonly checked: { records: number; files: number; bytes: number }
  readonly problems: VerifyProblem[]
}

/** `files`: everything a retained record names, by digest; `all`: also that checkpoints are what the log folds to. */
export async function verifyStore(root: Root, log: CommitLog, storeId: Uint8Array, context: StateContext, o: VerifyOptions): Promise<VerifyOutcome> {
  const problems: VerifyProblem[] = []
  const checked = { records: 0, files: 0, bytes: 0 }
  const head = log.head
  const files = new NamedFiles()
  const digest = await verifyLog(log, head, files, checked, problems, o)
  if (o.level !== 'log') {
    await verifyCheckpoints(root, log, storeId, context, o, files, checked, problems)
    await verifyFiles(root, files, checked, problems, o)
    await forgiveVacuumed({ root, log, storeId, context }, files, problems, o)
    if (o.level === 'all') await verifyRows(root, log, storeId, context, problems)
  }
  return { lsn: head, digest, checked, problems }
}

/** Files that are gone and that nothing which can be read needs: records of the retained log name them still. */
async function forgiveVacuumed(
  source: { readonly root: Root; readonly log: CommitLog; readonly storeId: Uint8Array; readonly context: StateContext },
  files: NamedFiles,
  problems: VerifyProblem[],
  { catalog }: VerifyOptions,
): Promise<void> {
  const gone = problems.filter(({ code, file }) => code === 'root.not-found' && (files.fragments.has(file) || files.vectors.has(file)))
  if (gone.length === 0) return
  try {
    const { branches, fragmentFloor } = await catalog()
    const head = Number(source.log.head)
    const floor = Math.max(fragmentFloor, source.log.reclaim.historyFloor())
    if (floor === 0) return
    const oldest = source.log.tail === 0n ? 0 : ((await listCheckpoints(source.root)).at(-1) ?? 0)
    const isNeeded = neededFiles({ ...source, branches }, Math.max(floor, oldest), head)
    for (const problem of gone) if (!(await isNeeded(problem.file))) problems.splice(problems.indexOf(problem), 1)
  } catch (error) {
    problems.push(problemOf(error, 'log'))
  }
}

async function verifyLog(
  log: CommitLog,
  head: Lsn,
  files: NamedFiles,
  checked: VerifyOutcome['checked'],
  problems: VerifyProblem[],
  o: VerifyOptions,
): Promise<Digest> {
  let digest: Uint8Array = new Uint8Array(32)
  try {
    digest = await log.digestAt(log.tail)
    for await (const batch of log.read(log.tail, { end: head, ...(o.signal === undefined ? {} : { signal: o.signal }) })) {
      digest = chainDigest(digest, batch.bytes, batch.offsets)
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) files.ofRecord(decodeRecord(batch.bytes, offset, lsn++))
      checked.records += batch.offsets.length
      checked.bytes += batch.bytes.length
      o.onProgress?.({ phase: 'log', done: checked.records, total: Number(head - log.tail), unit: 'commits' })
    }
    const stored = await log.digestAt(head)
    if (toHex(stored) !== toHex(digest)) {
      problems.push({
        code: 'log.corrupt',
        file: 'log',
        lsn: head,
        message: `the chain of the records ends in ${toHex(digest)}, the log states ${toHex(stored)}`,
      })
    }
  } catch (error) {
    o.signal?.throwIfAborted()
    problems.push(problemOf(error, 'log'))
  }
  return digest as Digest
}

async function verifyCheckpoints(
  root: Root,
  log: CommitLog,
  storeId: Uint8Array,
  context: StateContext,
  o: VerifyOptions,
  files: NamedFiles,
  checked: VerifyOutcome['checked'],
  problems: VerifyProblem[],
): Promise<void> {
  for (const lsn of await listCheckpoints(root)) {
    o.signal?.throwIfAborted()
    if (o.isBackup === true && BigInt(lsn) > log.head) continue
    const file = checkpointName(lsn)
    try {
      const checkpoint = await readCheckpoint(root, storeId, lsn)
      checked.files++
      files.ofCatalog(checkpoint.catalog)
      if (BigInt(lsn) > log.head) throw corrupt(file, `is ahead of the log, which ends at ${log.head}`)
      if (toHex(await log.digestAt(BigInt(lsn) as Lsn)) !== toHex(checkpoint.digest)) throw corrupt(file, 'states another digest than the log')
      if (o.level === 'all' && log.tail === 0n) {
        const folded = await foldedTo(context, log, lsn)
        if (toHex(sha256(checkpointBody(folded))) !== toHex(sha256(checkpointBody(checkpoint.catalog)))) throw corrupt(file, 'is not what the log folds to')
      }
    } catch (error) {
      // A newer one has taken its place since they were listed.
      if (isNotFound(error)) continue
      problems.push(problemOf(error, file))
    }
  }
}

/** The catalog alone: deletion vectors that were replaced may be gone. */
async function foldedTo(context: StateContext, log: CommitLog, end: number): Promise<Catalog> {
  const state = StoreState.ofCatalog(context, new Catalog())
  for await (const batch of log.read(0n as Lsn, { end: BigInt(end) as Lsn })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      state.fold(lsn, state.resolve(lsn, decodeRecord(batch.bytes, offset, lsn)))
      lsn++
    }
  }
  return state.catalog
}

/** As an open would find it: the rows that are there are the rows that the records counted. */
async function verifyRows(root: Root, log: CommitLog, storeId: Uint8Array, context: StateContext, problems: VerifyProblem[]): Promise<void> {
  try {
    const state = await StoreState.load(context, log, await newestCheckpoint(root, storeId, Number(log.head)), Number(log.head))
    for (const table of state.tables.values()) {
      const counted = state.catalog.table(table.id)?.rows ?? 0
      const there = table.liveRowsNow()
      if (there === counted) continue
      problems.push({ code: 'store.invariant', file: 'log', lsn: log.head, message: `table ${table.name} has ${there} rows, its records count ${counted}` })
    }
  } catch (error) {
    problems.push(problemOf(error, 'log'))
  }
}

async function verifyFiles(root: Root, files: NamedFiles, checked: VerifyOutcome['checked'], problems: VerifyProblem[], o: VerifyOptions): Promise<void> {
  const total = files.fragments.size + files.vectors.size
  let done = 0
  for (const [name, { file, ref }] of files.fragments) {
    o.signal?.throwIfAborted()
    const { digest } = file.file
    if (file.role === 'fragment') await verifyFile(root, name, digest, 'fragment.corrupt', checked, problems)
    else await verifyFile(root, name, digest, 'index.corrupt', checked, problems, (bytes) => checkIndex(bytes, file, ref))
    o.onProgress?.({ phase: 'files', done: ++done, total, unit: 'files' })
  }
  for (const [file, { digest, hidden }] of files.vectors) {
    o.signal?.throwIfAborted()
    await verifyFile(root, file, digest, 'coverage.corrupt', checked, problems, (bytes) => {
      const { count } = Coverage.decode(bytes, { file })
      if (count !== hidden) throw corrupt(file, `holds ${count} rows, the record says ${hidden}`)
    })
    o.onProgress?.({ phase: 'files', done: ++done, total, unit: 'files' })
  }
}

/** An index is what its reference says. @throws DecodeError */
function checkIndex(bytes: Uint8Array, { index }: FragmentFile, { digest, rows }: FragmentRef): void {
  if (index === 'key') decodeKeyIndex(bytes, rows)
  else if (index?.kind === 'sorted') checkSorted(bytes, { fragment: digest, rows, columns: index.columns.map((id) => ({ id })) })
}

async function verifyFile(
  root: Root,
  name: string,
  digest: string,
  code: string,
  checked: VerifyOutcome['checked'],
  problems: VerifyProblem[],
  inspect?: (bytes: Uint8Array) => void,
): Promise<void> {
  try {
    const { bytes } = await root.get(name)
    checked.files++
    checked.bytes += bytes.length
    const found = toHex(sha256(bytes))
    if (found === digest) inspect?.(bytes)
    else problems.push({ code, file: name, message: `${name}: digest ${found}, expected ${digest}` })
  } catch (error) {
    problems.push({ ...problemOf(error, name), file: name })
  }
}

function corrupt(file: string, why: string): CorruptionError {
  return new CorruptionError('checkpoint.corrupt', `${file}: ${why}`, { details: { file } })
}

function problemOf(error: unknown, file: string): VerifyProblem {
  const message = error instanceof Error ? error.message : String(error)
  if (!(error instanceof VarveError)) return { code: 'store.invariant', file, message }
  const { details } = error
  return {
    code: error.code,
    file: typeof details['file'] === 'string' ? details['file'] : file,
    ...(typeof details['offset'] === 'number' ? { offset: details['offset'] } : {}),
    ...(typeof details['lsn'] === 'bigint' ? { lsn: details['lsn'] as Lsn } : {}),
    message,
  }
}
