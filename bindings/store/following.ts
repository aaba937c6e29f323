// store/following.ts: a handle that only reads applies what the writer adds, one batch after the other, up to what is committed.
//
// In mode async everything in the log is. Else C is what NODE says, which is some 20 ms behind, or what the log itself proves; a record that changes the mode ends a
// step, so that nothing behind it is applied by the rule before it. Invariant: `applied` is never above C; one run at a time.

import { VarveError } from '../errors.ts'
import { KIND_MODE, type StoreState } from '../engine/index.ts'
import { frameKind } from '../format/index.ts'
import { type LogBatch, type Lsn, readNode } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { TimerHandle } from '../runtime/index.ts'
import type { Opened } from './wiring.ts'

/** Between two looks at NODE while the log is ahead of C. */
const LOOK_MS = 20

/** Where a reader may go, of a state at any LSN; undefined: to the head. @param known  C is there at least */
export async function committedEnd(root: Root, { catalog }: StoreState, known: number): Promise<number | undefined> {
  const { mode, lsn } = catalog.ack
  if (lsn === 0) return undefined
  const committed = Math.max((await readNode(root))?.committedLsn ?? 0, known, catalog.committedFloor)
  return mode === 'async' && lsn <= committed ? undefined : committed
}

export function follow(opened: Opened): void {
  const { log, state, world } = opened
  let running: Promise<void> | undefined
  let timer: TimerHandle | undefined
  let isOver = false
  const apply = async (): Promise<void> => {
    while (state.applied < Number(log.head)) {
      const end = await endOf(opened)
      if (state.applied >= end) return
      for await (const batch of log.read(BigInt(state.applied) as Lsn, { end: BigInt(end) as Lsn })) {
        const step = throughMode(batch)
        await state.applyBatch(step)
        // By another rule from here on.
        if (step !== batch) break
      }
    }
  }
  const run = (): Promise<void> => {
    running ??= apply()
      .catch((error: unknown) => {
        // What may pass is tried again at the next group; anything else would leave rows out for good.
        if (!(error instanceof VarveError && error.kind === 'unavailable')) opened.failure = error as Error
        throw error
      })
      .finally(() => {
        running = undefined
        if (state.applied < Number(log.head) && opened.options.follow && opened.failure === undefined) again()
      })
    return running
  }
  const look = (): void => {
    if (!isOver) run().catch((cause: unknown) => world.logger.log({ level: 'error', code: 'follow.failed', cause }))
  }
  const again = (): void => {
    if (isOver || timer !== undefined) return
    timer = world.timers.set(LOOK_MS, () => {
      timer = undefined
      look()
    })
  }
  opened.catchUp = async () => {
    await log.refresh()
    await run()
  }
  log.listen({
    durable: look,
    failed: (error) => {
      opened.failure = error
    },
  })
  const { release } = opened
  opened.release = () => {
    isOver = true
    if (timer !== undefined) world.timers.clear(timer)
    return release()
  }
  if (opened.options.follow && state.applied < Number(log.head)) again()
}

async function endOf({ root, log, state, checkpointLsn }: Opened): Promise<number> {
  const head = Number(log.head)
  return Math.min(head, (await committedEnd(root, state, checkpointLsn)) ?? head)
}

/** The batch up to its first record that changes the mode; itself when there is none, or that is its last. */
function throughMode(batch: LogBatch): LogBatch {
  const { bytes, offsets } = batch
  const at = offsets.findIndex((offset) => frameKind(bytes, offset) === KIND_MODE)
  if (at < 0 || at === offsets.length - 1) return batch
  const last = (batch.first + BigInt(at)) as Lsn
  return {
    ...batch,
    bytes,
    first: batch.first,
    last,
    offsets: offsets.subarray(0, at + 1),
    frames: () => batch.frames().slice(0, at + 1),
    digest: () => batch.digest(),
  }
}
