// engine/commit-result.ts: what a commit resolves with: its numbers are made into what callers see when they are asked for.

import type { Lsn } from '../log/index.ts'
import { showAs, ulidText } from '../runtime/index.ts'
import type { CommitResult, WriteId } from '../table/index.ts'

class Result implements CommitResult {
  private readonly number: number
  private readonly id: Uint8Array
  private readonly timeMs: number
  readonly rows: number
  readonly replayed: boolean
  constructor(lsn: number, id: Uint8Array, timeMs: number, rows: number, replayed: boolean) {
    this.number = lsn
    this.id = id
    this.timeMs = timeMs
    this.rows = rows
    this.replayed = replayed
  }
  get lsn(): Lsn {
    return BigInt(this.number) as Lsn
  }
  get writeId(): WriteId {
    return ulidText(this.id) as WriteId
  }
  get time(): Date {
    return new Date(this.timeMs)
  }
  toJSON(): object {
    return { lsn: String(this.number), writeId: this.writeId, time: this.time, rows: this.rows, replayed: this.replayed }
  }
}

showAs(Result, ({ lsn, writeId, time, rows, replayed }) => ({ lsn, writeId, time, rows, replayed }))

/** What a commit resolves with, also one that was made elsewhere. @param writeId  16 bytes */
export function commitResult(lsn: number, writeId: Uint8Array, timeMs: number, rows: number, replayed: boolean): CommitResult {
  return new Result(lsn, writeId, timeMs, rows, replayed)
}
