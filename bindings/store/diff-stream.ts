// store/diff-stream.ts: the stream behind diff(): both versions held for as long as it runs.

import { diffPoints, type FeedChange, type ReadContext, type ReadPoint } from '../engine/index.ts'
import { ClosedError, InvalidConfigError } from '../errors.ts'
import type { AnyTable, At, Images } from '../table/index.ts'
import { checkKnown } from './known-options.ts'
import type { Pins } from './pins.ts'

const KNOWN: readonly string[] = ['tables', 'images', 'signal'] satisfies (keyof DiffRequest)[]

export interface DiffRequest {
  readonly tables: readonly AnyTable[]
  readonly images?: Images
  readonly signal?: AbortSignal
}

export interface DiffHost {
  readonly context: ReadContext
  readonly pins: Pins
  readonly pointAt: (at: At) => Promise<ReadPoint>
  readonly isClosed: () => boolean
  /** Aborted when the store closes. */
  readonly closing: AbortSignal
}

/** @param stopped  aborted when the consumer has left */
export async function* diffStream(host: DiffHost, from: At, to: At, o: DiffRequest, stopped: AbortSignal): AsyncGenerator<FeedChange, undefined> {
  host.context.check()
  const { tables, images = 'after', signal } = checkKnown('diff', o, KNOWN)
  signal?.throwIfAborted()
  if (!Array.isArray(tables)) {
    throw new InvalidConfigError('diff needs the tables to compare', { details: { key: 'tables', value: tables }, hint: 'Say which: { tables: [flights] }.' })
  }
  if (images !== 'after' && images !== 'both') {
    throw new InvalidConfigError(`a diff has no images ${JSON.stringify(images)}`, {
      details: { key: 'images', value: images },
      hint: 'Ask for "after" or "both".',
    })
  }
  const [older, newer] = await Promise.all([host.pointAt(from), host.pointAt(to)])
  const pins = [older, newer].map((point) => host.pins.hold(point, 'reader'))
  const signals = signal === undefined ? [host.closing, stopped] : [signal, host.closing, stopped]
  try {
    yield* diffPoints(older, newer, { tables, images, signal: AbortSignal.any(signals) }, host.context)
  } catch (error) {
    if (host.isClosed()) throw new ClosedError('store.closed', 'the store was closed', { details: { what: 'store' }, cause: error })
    if (stopped.aborted) return
    throw error
  } finally {
    for (const pin of pins) pin.release()
  }
}
