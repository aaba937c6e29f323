// engine/known-keys.ts: idempotency keys that a commit has, durable or queued: who asks again gets the result of then.
//
// Invariant: a result is told when its record is committed, like the first time. An open folds more than that.

import type { Catalog } from '../catalog/index.ts'
import { IdempotencyMismatchError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import { ulidBytes } from '../runtime/index.ts'
import type { CommitResult } from '../table/index.ts'
import { type CommitGate, isIndeterminate } from './commit-gate.ts'
import { commitResult } from './commit-result.ts'

export class KnownKeys {
  private readonly catalog: Catalog
  private readonly gate: () => CommitGate | undefined
  private readonly queued = new Map<string, { readonly request: Uint8Array; readonly lsn: number; readonly result: Promise<CommitResult> }>()

  constructor(catalog: Catalog, gate: () => CommitGate | undefined) {
    this.catalog = catalog
    this.gate = gate
  }

  has(key: string): boolean {
    return this.queued.has(key) || this.catalog.keys.has(key)
  }

  /** A commit under this key waits for its group. */
  queue(key: string, request: Uint8Array, lsn: number, result: Promise<CommitResult>): void {
    this.queued.set(key, { request, lsn, result })
    // Whose caller has been told that it waits too long is still on its way.
    result.catch((error: unknown) => {
      if (!isIndeterminate(error)) this.queued.delete(key)
    })
  }

  /** Records up to `last` are folded. */
  settle(last: number): void {
    if (this.queued.size > 0) for (const [key, { lsn }] of this.queued) if (lsn <= last) this.queued.delete(key)
  }

  /** Records from `first` on never were. */
  takeBack(first: number): void {
    for (const [key, { lsn }] of this.queued) if (lsn >= first) this.queued.delete(key)
  }

  /** The result of the same request, or undefined. @throws IdempotencyMismatchError; (the promise) AckTimeoutError */
  replay(key: string, request: Uint8Array): Promise<CommitResult> | CommitResult | undefined {
    const waiting = this.queued.get(key)
    const remembered = this.catalog.keys.get(key)
    const known = waiting?.request ?? remembered?.request
    if (known === undefined) return undefined
    if (toHex(known) !== toHex(request))
      throw new IdempotencyMismatchError(`idempotency key ${JSON.stringify(key)} was used with another request`, { details: { key } })
    if (waiting !== undefined) return waiting.result.then((r) => commitResult(Number(r.lsn), ulidBytes(r.writeId), r.time.getTime(), r.rows, true))
    const { lsn, writeId, timeMs, rows } = remembered!
    const result = commitResult(lsn, writeId, timeMs, rows, true)
    const committed = this.gate()?.reached(lsn)
    return committed === undefined ? result : committed.then(() => result)
  }
}
