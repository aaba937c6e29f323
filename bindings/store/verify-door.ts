// store/verify-door.ts: verify() of an open store: its own bytes, and whether another store, or a backup, has the same history.

import { InvalidConfigError } from '../errors.ts'
import { verifyStore } from '../engine/index.ts'
import type { Root } from '../root/index.ts'
import type { Long, VerifyReport } from '../table/index.ts'
import { compareStores } from './compare.ts'
import { checkKnown } from './known-options.ts'
import { Reporter, type Step } from './progress.ts'
import type { Opened } from './wiring.ts'

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
  const outcome = await verifyStore(root, log, storeId, context, {
    level,
    signal,
    onProgress: (p) => reporter.step((last = p)),
    isBackup: opened.isBackup,
    catalog: async () => {
      // A writer in another process may have let go of them; a log that cannot be followed has been told of already.
      await opened.catchUp().catch(() => undefined)
      return { branches: opened.state.catalog.branches, fragmentFloor: opened.fragmentFloor() }
    },
  })
  if (level !== 'log') {
    opened.damaged.clear()
    for (const { file } of outcome.problems) opened.damaged.add(file)
  }
  const compared = against === undefined ? undefined : await compareStores(opened, against, level, signal)
  const problems = [...outcome.problems, ...(compared?.problems ?? [])]
  reporter.tell(last)
  return { ...outcome, ok: problems.length === 0, problems, ...(compared === undefined ? {} : { against: compared.comparison }) }
}
