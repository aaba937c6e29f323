// write/parts.ts: what the life of a write with an Intent needs beside the engine, and what it tells whoever opened the store.

import { type Engine, type GateOptions, retireArea, rowGates } from '../engine/index.ts'
import { toHex } from '../format/index.ts'
import { ulidBytes } from '../runtime/index.ts'
import { StagingArea } from '../staging/index.ts'
import type { CommitResult, TableState } from '../table/index.ts'
import type { FeedSource } from './written-keys.ts'

export interface WriteParts extends FeedSource {
  /** Staged writes that this store has handed out and that are not over. */
  readonly handles: { add(handle: AsyncDisposable): void; delete(handle: AsyncDisposable): void }
  /** Aborted when the store closes. */
  readonly closing: AbortSignal
  /** Around each publish that a user asked for: who traces and counts. */
  readonly publishing: (publish: () => Promise<CommitResult>) => Promise<CommitResult>
  /** Writes that a call of this store is about to publish or to roll back, by ULID text, with the number of such calls. */
  readonly working: ReadonlyMap<string, number>
  /** A call that decides a write, from the moment it is made until it settles. */
  readonly decide: <T>(writeId: string, call: () => Promise<T>) => Promise<T>
  /** Resolves when something that was pending is decided, or a while later: look again. Keeps the process alive. Rejects with the signal's reason. */
  readonly nextDecision: (signal: AbortSignal | undefined) => Promise<void>
  /** Files of a decided write could not be removed: the next sweep does it. */
  readonly retireDeferred: (writeId: string, cause: Error) => void
}

/** The writeId as the fold keys it. */
export function idHex(writeId: string): string {
  return toHex(ulidBytes(writeId))
}

/** Phase D: the staging directory goes, INTENT last, behind a durable outcome. Never fails. */
export async function retireWrite(parts: WriteParts, writeId: string, area?: StagingArea): Promise<void> {
  const { log, root, world } = parts.engine.parts
  const failed = await retireArea(log, area ?? StagingArea.adopt(root, world, writeId))
  if (failed === undefined) return
  world.logger.log({ level: 'warn', code: 'retire.deferred', writeId, cause: failed })
  parts.retireDeferred(writeId, failed)
}

/** The gates of a write of these tables (recovery.md section 8): no flush and no load moves their rows, and no definition changes, until it is disposed. */
export function takeGates(engine: Engine, tables: Iterable<TableState>, o?: GateOptions): Promise<Disposable> {
  return engine.gates.take(rowGates(engine, tables), o)
}
