// store/replica-store.ts: what readers of a replica hold: a handle per generation of its log, and one facade in front of whichever is the present one.
//
// Invariant: a snapshot that was taken before a new base was installed shows what it showed until it is released.

import { ClosedError, HistoryUnavailableError, NotAStoreError, ReadOnlyError } from '../errors.ts'
import type { AckMode } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import type { ReadStore } from '../table/index.ts'
import type { Events } from './events.ts'
import { ReadOnlyHandle } from './read-only-store.ts'

/** Between two looks whether the readers of a replaced state are done. */
const DRAIN_MS = 50

export class ReplicaHandle extends ReadOnlyHandle {
  get ackMode(): AckMode {
    return this.o.acknowledgement.mode
  }

  protected override refusal(call: string): ReadOnlyError {
    return new ReadOnlyError(`${call}: this is a replica, which holds what its primary writes`, {
      details: {},
      hint: 'Write to the primary, or promote this replica.',
    })
  }

  /** Feeds end; resolves when nobody reads it any more and it is closed. @param below  what is held from there on is held by readers of its successor */
  async retire(signal: AbortSignal, below: number): Promise<void> {
    this.closing.abort(
      new HistoryUnavailableError('the replica was rebuilt: what it holds begins anew', {
        details: { asked: this.lsn, floor: this.lsn },
        hint: 'Begin again at a version that it holds.',
      }),
    )
    while (this.o.log.reclaim.list().some(({ lsn }) => lsn < below) && !signal.aborted) await this.o.world.timers.sleep(DRAIN_MS, signal).catch(() => undefined)
    await this.close()
  }
}

export interface FacadeParts {
  /** undefined: nothing can be read yet. */
  readonly current: () => ReplicaHandle | undefined
  /** A base has taken the place of the log that readers are shown, and its version is not committed yet. */
  readonly isOutdated: () => boolean
  readonly events: Events
  readonly url: string
}

/** Stable: each call goes to the present handle. It is closed by closing the replica. */
export function replicaStore({ current, isOutdated, events, url }: FacadeParts): ReadStore {
  const absent = (): NotAStoreError =>
    new NotAStoreError(`${url}: the replica holds nothing that can be read yet`, {
      details: { url },
      hint: 'Wait until its primary has reached it: replica.status().lsn, or replica.ready().',
    })
  const before: Readonly<Record<string, unknown>> = {
    id: '',
    lsn: 0n as Lsn,
    epoch: 0n,
    readOnly: true,
    closed: false,
    on: events.on.bind(events),
    toJSON: () => ({ readOnly: true }),
  }
  const shut = async (): Promise<void> => undefined
  /** Whoever waits for a version waits for it through a rebuild too. */
  const waitCommitted: ReadStore['waitCommitted'] = async (lsn, o) => {
    for (;;) {
      const handle = current()
      if (handle === undefined) throw absent()
      try {
        return await handle.waitCommitted(lsn, o)
      } catch (error) {
        if (!(error instanceof HistoryUnavailableError || error instanceof ClosedError) || current() === handle) throw error
      }
    }
  }
  /** Once a base is there, its files lie beside those of what is shown, which go: what was found of the two together says nothing of either. */
  const verify: ReadStore['verify'] = async (o) => {
    for (;;) {
      const handle = current()
      if (handle === undefined) throw absent()
      const report = await handle.verify(o).catch((error: unknown) => {
        if (current() === handle) throw error
        return undefined
      })
      if (report === undefined || (!report.ok && current() !== handle)) continue
      if (report.ok || !isOutdated()) return report
      const problems = report.problems.filter(({ file }) => !isAbove(file, report.lsn))
      return { ...report, ok: problems.length === 0, problems }
    }
  }
  return new Proxy(
    {},
    {
      get(_, key) {
        if (key === 'close' || key === Symbol.asyncDispose) return shut
        if (key === 'then') return undefined
        if (key === 'waitCommitted') return waitCommitted
        if (key === 'verify') return verify
        const handle = current()
        if (handle === undefined) {
          if (typeof key === 'string' && key in before) return before[key]
          return () => {
            throw absent()
          }
        }
        const value: unknown = Reflect.get(handle, key, handle)
        return typeof value === 'function' ? (value.bind(handle) as unknown) : value
      },
      has: (_, key) => key in (current() ?? before),
    },
  ) as ReadStore
}

/** A checkpoint of a later version. */
function isAbove(file: string, lsn: Lsn): boolean {
  const [, digits] = /^checkpoints\/(\d{20})\./.exec(file) ?? []
  return digits !== undefined && BigInt(digits) > lsn
}
