// log/commit-log.ts: the one ordered, durable record of a store (log.md). Knows bytes, LSNs, epochs and digests; knows no catalog.

import type { RecentGroups } from './recent.ts'
import type { Reclaim } from './reclaim.ts'

declare const lsnBrand: unique symbol
declare const epochBrand: unique symbol
declare const digestBrand: unique symbol
/** Position in the log; dense from 1, 0 is the empty store. */
export type Lsn = bigint & { readonly [lsnBrand]: 'Lsn' }
export type Epoch = bigint & { readonly [epochBrand]: 'Epoch' }
/** 32 bytes. */
export type Digest = Uint8Array & { readonly [digestBrand]: 'Digest' }

/** A number, a bigint or (as JSON has it) a decimal string as an LSN. @throws RangeError below 0 or when it is no integer */
export function lsn(n: number | bigint | string): Lsn {
  if (typeof n === 'string' && !/^\d{1,20}$/.test(n)) throw new RangeError(`an LSN is decimal digits: ${JSON.stringify(n)}`)
  const value = BigInt(n)
  if (value < 0n) throw new RangeError(`an LSN is not negative: ${value}`)
  return value as Lsn
}

export type RecordKind = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12

export interface LogRecord {
  readonly kind: RecordKind
  /** Not retained: copied before submit/append returns. */
  readonly payload: Uint8Array
}

/** Verified records in LSN order: one run of bytes with the offset of each frame in it. */
export interface LogBatch {
  readonly first: Lsn
  readonly last: Lsn
  readonly epoch: Epoch
  readonly bytes: Uint8Array
  /** Offset of each record's frame in `bytes` (marks and footers are not listed); `offsets.length` = last - first + 1. */
  readonly offsets: Uint32Array
  /** The whole frames as views, made on demand. */
  frames(): readonly Uint8Array[]
  /** digestAt(last); computed on demand. */
  digest(): Promise<Digest>
}

export interface Submission {
  readonly first: Lsn
  readonly last: Lsn
}

export interface LogListener {
  /** Called once per group after its sync and the LOCK check, in LSN order, before append() promises of the group resolve; must not throw. */
  durable(last: Lsn): void
  /** The handle is dead: poisoned or fenced. Nothing after the last durable() call was acknowledged. */
  failed(error: Error): void
  /**
   * Every record from `first` on was taken back and is not in the log; the handle lives on. There was no room for a segment (StorageError), and `first` is the
   * next LSN again; or, on a shared log, another writer won (LsnTakenError, `head` is where the log is now): nothing is accepted until somebody who has read the
   * winners submits with `expect` = head. Where a listener lacks it, records of submit() wait two seconds for room instead; then `failed`, and the handle is dead.
   */
  rejected?(first: Lsn, error: Error): void
  /** Shared logs: refresh() found records of other writers up to `last`. Never called for what rejected() has told with an LsnTakenError. */
  foreign?(last: Lsn): void
  /**
   * Shared logs: whether `first`..`last` are in the log is not known. What was queued behind them is given back by rejected(); nothing more is accepted until
   * resolveUnknown() or refresh() has found out; then durable() or rejected() tells. `error` is a CommitOutcomeUnknownError.
   */
  unknown?(first: Lsn, last: Lsn, error: Error): void
}

export interface AppendOptions {
  /** The head this append was decided against. */
  readonly expect?: Lsn
  readonly signal?: AbortSignal
  /** Named by CommitOutcomeUnknownError. */
  readonly writeId?: string
}

export interface Pin {
  readonly id: string
  readonly lsn: Lsn
  release(): void
  /** Shared logs: why it can no longer be relied on (this process stood still for so long that others had to take it for gone). */
  lost?(): Error | undefined
  /** Shared logs: its next renewal may come too late. */
  isExpiring?(): boolean
}

export interface CommitLog extends AsyncDisposable {
  /** Others may append to this log too: appends can lose, and refresh() can find records. */
  readonly shared: boolean
  /** H: highest LSN acknowledged here (`buffered`: written; `synced`: synced). */
  readonly head: Lsn
  /** Highest LSN known synced. Equals head under `synced`. */
  readonly durableHead: Lsn
  /** Highest LSN given out by submit/append; >= head. */
  readonly submitted: Lsn
  /** T: exclusive lower bound of retained records. */
  readonly tail: Lsn
  readonly epoch: Epoch
  /** @param mandate  by whose decision its records were written (format/mandate.ts); absent: nobody's */
  readonly lineage: readonly { readonly epoch: Epoch; readonly firstLsn: Lsn; readonly mandate?: number }[]
  /** Shared logs: the highest epoch of all records, those trimmed included. */
  readonly highestEpoch?: number
  /** Bytes of retained log, preallocation not counted. */
  readonly bytes: number
  /** Bytes of log that stay when everything at or below `lsn` is trimmed; logs that cannot tell have none. */
  bytesAbove?(lsn: number): number
  readonly segments: number
  /** What holds history back in this process. */
  readonly reclaim: Reclaim
  /** Writing logs of a local root: the newest groups, kept while somebody follows. */
  readonly recent?: RecentGroups
  /** Until it is disposed of. */
  listen(listener: LogListener): Disposable
  /**
   * Queue records synchronously with the next LSNs; durability is told by the listener. The hot path of the store: no promise, no object per record but the result.
   * @throws PoisonedError, FencedError, ClosedError, StorageError space, LsnTakenError (expect)
   */
  submit(records: readonly LogRecord[], o?: { expect?: Lsn }): Submission
  /** As submit; resolves when durable. An aborted append that is not yet written rejects and leaves no record. */
  append(records: readonly LogRecord[], o?: AppendOptions): Promise<Submission>
  read(start: Lsn, o?: { end?: Lsn; signal?: AbortSignal }): AsyncIterable<LogBatch>
  tailing(start: Lsn, o: { signal: AbortSignal }): AsyncIterable<LogBatch>
  digestAt(lsn: Lsn): Promise<Digest>
  /** Frees records at or below `upTo` as far as they can go and no pin holds them. @returns T afterwards; with `dryRun` what it would be */
  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn>
  /** Logs with a LOCK: before every name that is taken away. @throws FencedError when it is another's, and the handle ends */
  assertOwned?(): void
  /** Logs with a NODE: makes C durable there, when it resolves; what is committed below it is never shown as the newest again. */
  settleCommitted?(lsn: Lsn): Promise<void>
  /** Logs with a NODE: the epoch that the newest promotion of this node claimed; 0 = none did. */
  readonly promotedEpoch?: number
  /** Logs with a NODE: by whose decision this node writes (format/mandate.ts); 0 = nobody's. */
  readonly mandate?: number
  /** Logs with a NODE: which decision of that mandate, lower-case hex; '' = nobody's. */
  readonly decision?: string
  /** Shared logs: what pins of other processes hold, as their leases say now. */
  heldElsewhere?(): Promise<readonly { readonly owner: string; readonly lsn: number }[]>
  /** The store is open: what its open has read and kept for the fold goes. */
  letGo?(): void
  refresh(): Promise<Lsn>
  /** Shared logs: finds out whether the records of unknown outcome are in the log; undefined when there are none. @throws StorageError when that still cannot be told */
  resolveUnknown?(): Promise<{ readonly first: Lsn; readonly last: Lsn; readonly durable: boolean } | undefined>
  pin(start: Lsn, owner: string): Promise<Pin>
  /** Barrier: everything submitted before is synced when it resolves. */
  sync(): Promise<Lsn>
  close(): Promise<void>
  closeSync?(): void
}
