// store/verify-door.ts: verify() of an open store: its own bytes, and whether another store, or a backup, has the same history.

import { InvalidConfigError } from '../errors.ts'
import { verifyStore } from '../engine/index.ts'
import { toHex } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Long, VerifyReport } from '../table/index.ts'
import { checkKnown } from './known-options.ts'
import { Reporter, type Step } from './progress.ts'
import { type Opened, wire } from './wiring.ts'

const LEVELS: readonly unknown[] = ['log', 'files', 'all']
const KNOWN: readonly string[] = ['level', 'against', 'signal', 'onProgress'] satisfies (keyof VerifyOptions)[]

export interface VerifyOptions extends Long {
  level?: 'log' | 'files' | 'all'
  against?: string | URL
}

/** @internal ReadStore.verify */
export async function verifyOpened(opened: Opened, o: VerifyOptions): Promise<VerifyReport> {
  const { world, root, log, storeId, context } = opened
  const { level = 'files', signal, against } = checkKnown('verify', o, KNOWN)
  signal?.throwIfAborted()
  if (!LEVELS.includes(level)) throw new InvalidConfigError(`no level ${JSON.stringify(level)}`, { details: { key: 'level', value: level } })
  const reporter = new Reporter(world, o.onProgress)
  let last: Step = { phase: 'log', done: 0, unit: 'commits' }
  reporter.tell(last)
  const outcome = await verifyStore(root, log, storeId, context, {
    level,
    signal,
    onProgress: (p) => reporter.step((last = p)),
    isBackup: opened.isBackup,
    catalog: { branches: opened.state.catalog.branches, fragmentFloor: opened.fragmentFloor() },
  })
  const problems = against === undefined ? outcome.problems : [...outcome.problems, ...(await differences(opened, against, signal))]
  reporter.tell(last)
  return { ...outcome, ok: problems.length === 0, problems }
}

/** Whether both logs are the same as far as both reach. @throws what opening the other one throws */
async function differences({ log, world }: Opened, against: string | URL, signal: AbortSignal | undefined): Promise<VerifyReport['problems']> {
  const other = await wire(against, { readOnly: true, follow: false, world, ...(signal === undefined ? {} : { signal }) })
  try {
    const low = Math.max(Number(log.tail), Number(other.log.tail))
    const high = Math.min(Number(log.head), Number(other.log.head))
    const told = (lsn: number, message: string): VerifyReport['problems'] => [
      { code: 'backup.mismatch', file: 'log', lsn: BigInt(lsn) as Lsn, message: `${other.root.url}: ${message}` },
    ]
    if (low > high) return told(high, `its log and this one have no position in common: one begins after LSN ${low}, the other ends at ${high}`)
    if (await agree(log, other.log, high)) return []
    if (!(await agree(log, other.log, low))) return told(low, `its log is another one: the digests differ at LSN ${low} already`)
    let [same, differs] = [low, high]
    while (differs - same > 1) {
      const middle = Math.floor((same + differs) / 2)
      if (await agree(log, other.log, middle)) same = middle
      else differs = middle
    }
    return told(differs, `its log and this one are the same up to LSN ${same}, and differ from ${differs} on`)
  } finally {
    await other.release()
  }
}

/** The digest covers every record up to its LSN: equal at one is equal below. */
async function agree(a: CommitLog, b: CommitLog, lsn: number): Promise<boolean> {
  const at = BigInt(lsn) as Lsn
  return toHex(await a.digestAt(at)) === toHex(await b.digestAt(at))
}
