// engine/known-keys.ts: idempotency keys that a commit has, durable or queued: who asks again gets the result of then.

import type { Catalog } from '../catalog/index.ts'
import { IdempotencyMismatchError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import { ulidBytes } from '../runtime/index.ts'
import type { CommitResult } from '../table/index.ts'
import { isIndeterminate } from './commit-gate.ts'
import { commitResult } from './commit-result.ts'

export class KnownKeys {
  private readonly catalog: Catalog
  private readonly queued = new Map<string, { readonly request: Uint8Array; readonly lsn: number; readonly result: Promise<CommitResult> }>()

  constructor(catalog: Catalog) {
    this.catalog = catalog
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

  /** The result of the same request, or undefined. @throws IdempotencyMismatchError */
  replay(key: string, request: Uint8Array): Promise<CommitResult> | CommitResult | undefined {
    const waiting = this.queued.get(key)
    const remembered = this.catalog.keys.get(key)
    const known = waiting?.request ?? remembered?.request
    if (known === undefined) return undefined
    if (toHex(known) !== toHex(request))
      throw new IdempotencyMismatchError(`idempotency key ${JSON.stringify(key)} was used with another request`, { details: { key } })
    if (waiting !== undefined) return waiting.result.then((r) => commitResult(Number(r.lsn), ulidBytes(r.writeId), r.time.getTime(), r.rows, true))
    return commitResult(remembered!.lsn, remembered!.writeId, remembered!.timeMs, remembered!.rows, true)
  }
}
