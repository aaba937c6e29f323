// log/abortable-appends.ts: appends that come with a signal: not framed before their group is formed, so that until then an abort takes them back.
//
// Invariant: an entry is either here, listening to its signal, or was taken or aborted, and listens no more.
import type { AppendOptions, LogRecord, Submission } from './commit-log.ts'

export interface AbortableAppend {
  readonly records: readonly LogRecord[]
  readonly o: AppendOptions
  readonly resolve: (submission: Submission) => void
  readonly reject: (error: unknown) => void
  readonly signal: AbortSignal
  onAbort: () => void
}

export class AbortableAppends {
  #entries: AbortableAppend[] = []

  get size(): number {
    return this.#entries.length
  }

  /** The records are copied. */
  add(records: readonly LogRecord[], o: AppendOptions, signal: AbortSignal, resolve: AbortableAppend['resolve'], reject: AbortableAppend['reject']): void {
    const copies = records.map(({ kind, payload }) => ({ kind, payload: payload.slice() }))
    const entry: AbortableAppend = { records: copies, o, resolve, reject, signal, onAbort: () => {} }
    entry.onAbort = () => {
      const at = this.#entries.indexOf(entry)
      if (at < 0) return
      this.#entries.splice(at, 1)
      reject(signal.reason)
    }
    signal.addEventListener('abort', entry.onAbort, { once: true })
    this.#entries.push(entry)
  }

  /** All of them, in order; they can no longer be aborted. */
  take(): readonly AbortableAppend[] {
    const entries = this.#entries
    this.#entries = []
    for (const { signal, onAbort } of entries) signal.removeEventListener('abort', onAbort)
    return entries
  }
}
