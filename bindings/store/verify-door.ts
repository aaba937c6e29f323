// store/verify-door.ts: verify() of an open store: its own bytes, and whether another store, or a backup, has the same history.

import { InvalidConfigError } from '../errors.ts'
import { type VerifyOutcome, verifyStore } from '../engine/index.ts'
import type { Root } from '../root/index.ts'
import type { Long, VerifyReport } from '../table/index.ts'
import { compareStores } from './compare.ts'
import { checkKnown } from './known-options.ts'
import { Reporter, type Step } from './progress.ts'
import type { Opened } from './wiring.ts'

/** Whoever writes meanwhile, in another process too, takes files and trims the log: where something is wrong and the log has gone on, all is looked at again. */
const LOOKS = 3

const LEVELS: readonly unknown[] = ['log', 'files', 'all']
const KNOWN: readonly string[] = ['level', 'against', 'signal', 'onProgress'] satisfies (keyof VerifyOptions)[]

export interface VerifyOptions extends Long {
  level?: 'log' | 'files' | 'all'
  against?: string | URL | Root
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
  // A log that cannot be followed has been told of already.
  const followed = (): Promise<void> => opened.catchUp().catch(() => undefined)
  const look = (): Promise<VerifyOutcome> =>
    verifyStore(root, log, storeId, context, {
      level,
      signal,
      onProgress: (p) => reporter.step((last = p)),
      isBackup: opened.isBackup,
      catalog: async () => {
        await followed()
        return { branches: opened.state.catalog.branches, fragmentFloor: opened.fragmentFloor() }
      },
    })
  let outcome = await look()
  for (let looks = 1; outcome.problems.length > 0 && looks < LOOKS; looks++) {
    await followed()
    if (log.head === outcome.lsn) break
    outcome = await look()
  }
  if (level !== 'log') {
    opened.damaged.clear()
    for (const { file } of outcome.problems) opened.damaged.add(file)
  }
  const compared = against === undefined ? undefined : await compareStores(opened, against, level, signal)
  const problems = [...outcome.problems, ...(compared?.problems ?? [])]
  reporter.tell(last)
  return { ...outcome, ok: problems.length === 0, problems, ...(compared === undefined ? {} : { against: compared.comparison }) }
}
