// store/compare.ts: whether another place (a replica, a backup, a copy) is the same store: chain digests, folded states, bytes of the files that the state names.
//
// The chain digest covers every record, and the records name every file by its SHA-256: two stores with one digest at an LSN were told the same. What is left to
// find out is whether each of them still has it. Invariant: the first difference in log order is reported, with its place; a comparison never throws for it.

import { checkpointBody, MAIN } from '../catalog/index.ts'
import { NamedFiles, type StoreState } from '../engine/index.ts'
import { VarveError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { Comparison, VerifyReport } from '../table/index.ts'
import { type Opened, wire } from './wiring.ts'

type Problems = VerifyReport['problems']

export interface Compared {
  readonly comparison: Comparison
  readonly problems: Problems
}

/**
 * @param level  log: only the digests; else also each file that the state at the common LSN names, byte by byte on the other side
 * @throws what opening the other one throws
 */
export async function compareStores(
  own: Opened,
  against: string | URL | Root,
  level: 'log' | 'files' | 'all',
  signal: AbortSignal | undefined,
): Promise<Compared> {
  const other = await wire(against, { readOnly: true, follow: false, world: own.world, ...(signal === undefined ? {} : { signal }) })
  try {
    return await compared(own, other, level, signal)
  } finally {
    await other.release()
  }
}

async function compared(own: Opened, other: Opened, level: 'log' | 'files' | 'all', signal: AbortSignal | undefined): Promise<Compared> {
  const [a, b] = [own.log, other.log]
  const low = Math.max(Number(a.tail), Number(b.tail))
  const high = Math.min(Number(a.head), Number(b.head))
  const comparison: Comparison = { url: other.root.url, head: b.head, lsn: BigInt(Math.max(0, high)) as Lsn, equal: false, files: 0 }
  const told = (at: { code: 'backup.mismatch'; file: string; lsn: number }, message: string): Compared => ({
    comparison,
    problems: [{ ...at, lsn: BigInt(at.lsn) as Lsn, message: `${other.root.url}: ${message}` }],
  })
  const ofLog = (lsn: number, message: string): Compared => told({ code: 'backup.mismatch', file: 'log', lsn }, message)
  if (low > high) return ofLog(high, `its log and this one have no position in common: one begins after LSN ${low}, the other ends at ${high}`)
  if (!(await agree(a, b, high))) {
    if (!(await agree(a, b, low))) return ofLog(low, `its log is another one: the digests differ at LSN ${low} already`)
    let [same, differs] = [low, high]
    while (differs - same > 1) {
      const middle = Math.floor((same + differs) / 2)
      if (await agree(a, b, middle)) same = middle
      else differs = middle
    }
    return ofLog(differs, `its log and this one are the same up to LSN ${same}, and differ from ${differs} on`)
  }
  comparison.digest = await a.digestAt(BigInt(high) as Lsn)
  // Of one chain the states are one by construction; a checkpoint that was damaged in a way its check does not see would tell here.
  const states = await Promise.all([stateAt(own, high), stateAt(other, high)])
  const [here, there] = states.map(({ catalog }) => sha256(checkpointBody(catalog)))
  comparison.state = here!
  if (toHex(here!) !== toHex(there!)) {
    return told({ code: 'backup.mismatch', file: 'state', lsn: high }, `its state at LSN ${high} is ${toHex(there!)}, this one's is ${toHex(here!)}`)
  }
  if (level !== 'log') {
    const problem = await differingFile(other.root, states[0]!, high, comparison, signal)
    if (problem !== undefined) return { comparison, problems: [problem] }
  }
  comparison.equal = true
  return { comparison, problems: [] }
}

/** The digest covers every record up to its LSN: equal at one is equal below. */
async function agree(a: CommitLog, b: CommitLog, lsn: number): Promise<boolean> {
  const at = BigInt(lsn) as Lsn
  return toHex(await a.digestAt(at)) === toHex(await b.digestAt(at))
}

async function stateAt({ state, history }: Opened, lsn: number): Promise<StoreState> {
  return state.applied === lsn ? state : await history.load({ branch: MAIN, lsn })
}

async function differingFile(
  root: Root,
  state: StoreState,
  lsn: number,
  comparison: Comparison,
  signal: AbortSignal | undefined,
): Promise<Problems[number] | undefined> {
  const files = new NamedFiles()
  files.ofCatalog(state.catalog)
  const digests = new Map<string, string>()
  for (const [name, { file }] of files.fragments) digests.set(name, file.file.digest)
  for (const [name, { digest }] of files.vectors) digests.set(name, digest)
  for (const [name, digest] of [...digests].toSorted(([x], [y]) => (x < y ? -1 : 1))) {
    signal?.throwIfAborted()
    const found = await digestOf(root, name)
    if (found !== digest) {
      return {
        code: 'backup.mismatch',
        file: name,
        lsn: BigInt(lsn) as Lsn,
        message: `${root.url}: ${name} is ${found} there, its name and this store say ${digest}`,
      }
    }
    comparison.files++
  }
  return undefined
}

/** What a file is, or why that cannot be told. */
async function digestOf(root: Root, name: string): Promise<string> {
  try {
    return toHex(sha256((await root.get(name)).bytes))
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    return error.code
  }
}
