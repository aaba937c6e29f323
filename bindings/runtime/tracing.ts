// runtime/tracing.ts: tracing channels of `node:diagnostics_channel`, for whoever watches from outside: varve:open, varve:commit, varve:scan, varve:get,
// varve:optimize, varve:vacuum, varve:recover.
//
// Each operation publishes start, end, asyncStart, asyncEnd and error as Node's TracingChannel does, with one message object that is filled as facts become
// known. Invariant: while nobody subscribes nothing is made and nothing is wrapped; callers look at `isTraced` first.
import { tracingChannel } from 'node:diagnostics_channel'

/** What subscribers see; `result` and `error` are added by the channel. */
export interface TraceMessage {
  storeId?: string
  table?: string
  lsn?: bigint
  writeId?: string
  rows?: number
}

export type TraceName = 'open' | 'commit' | 'scan' | 'get' | 'optimize' | 'vacuum' | 'recover'

const CHANNELS = {
  open: tracingChannel<TraceMessage>('varve:open'),
  commit: tracingChannel<TraceMessage>('varve:commit'),
  scan: tracingChannel<TraceMessage>('varve:scan'),
  get: tracingChannel<TraceMessage>('varve:get'),
  optimize: tracingChannel<TraceMessage>('varve:optimize'),
  vacuum: tracingChannel<TraceMessage>('varve:vacuum'),
  recover: tracingChannel<TraceMessage>('varve:recover'),
} as const satisfies Record<TraceName, unknown>

/** Whether anybody listens. Asked of the five channels: not every runtime has the question on the whole. */
export function isTraced(name: TraceName): boolean {
  const { start, end, asyncStart, asyncEnd, error } = CHANNELS[name]
  return start.hasSubscribers || end.hasSubscribers || asyncStart.hasSubscribers || asyncEnd.hasSubscribers || error.hasSubscribers
}

/**
 * Runs `call` inside the channel and passes its outcome on unchanged.
 *
 * @param finish  adds to the message what the result says, before asyncStart is published
 */
export function traced<T>(name: TraceName, message: TraceMessage, call: () => Promise<T>, finish?: (result: T) => TraceMessage): Promise<T> {
  return CHANNELS[name].tracePromise(async () => {
    const result = await call()
    if (finish !== undefined) Object.assign(message, finish(result))
    return result
  }, message)
}
