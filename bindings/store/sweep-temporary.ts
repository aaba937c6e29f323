// store/sweep-temporary.ts: temporary files of processes that were killed: not before a handle has been open for a while, since the whole root is walked.

import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

const SWEEP_AFTER_MS = 60_000
/** No writer leaves a temporary file alone for so long. */
const TEMPORARY_MS = 3_600_000

/** Never throws: what cannot be swept is logged. */
export async function sweepTemporary(root: Root, world: World, signal: AbortSignal): Promise<void> {
  await world.timers.sleep(SWEEP_AFTER_MS, signal).catch(() => undefined)
  if (signal.aborted || root.sweepTemporary === undefined) return
  await root.sweepTemporary(world.clock.nowMs() - TEMPORARY_MS, { signal }).catch((cause: unknown) => {
    if (!signal.aborted) world.logger.log({ level: 'warn', code: 'sweep.temporaryFailed', cause })
  })
}
