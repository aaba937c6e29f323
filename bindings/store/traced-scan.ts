// store/traced-scan.ts: a scan whose runs are published on varve:scan. Made only while somebody listens.

import { traced, type TraceMessage } from '../runtime/index.ts'
import type { AnyTable, Scan } from '../table/index.ts'

type AnyScan = Scan<AnyTable, Record<string, unknown>>

/** What iterates; every other method is one promise. */
const STREAMS: ReadonlySet<string | symbol> = new Set(['batches', 'rows', Symbol.asyncIterator])

/** The same scan; each run of it is one operation of the channel, an iteration from its first step to its end or break. */
export function tracedScan(scan: AnyScan, facts: TraceMessage): AnyScan {
  return new Proxy(scan, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const method = value as (...parameters: unknown[]) => unknown
      if (STREAMS.has(name)) return () => stream(method.call(target) as AsyncIterable<unknown>, name !== 'rows', { ...facts })
      return (...parameters: unknown[]) => traced('scan', { ...facts }, () => method.apply(target, parameters) as Promise<unknown>, rowsOf)
    },
  })
}

function rowsOf(result: unknown): TraceMessage {
  return Array.isArray(result) ? { rows: result.length } : {}
}

async function* stream(items: AsyncIterable<unknown>, areBatches: boolean, message: TraceMessage): AsyncGenerator<unknown, undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  const published = traced('scan', message, () => promise).catch(() => undefined) // the reader is told by the iteration itself
  message.rows = 0
  try {
    for await (const item of items) {
      message.rows += areBatches ? (item as { numRows: number }).numRows : 1
      yield item
    }
  } catch (error) {
    reject(error)
    throw error
  } finally {
    resolve(undefined)
    await published
  }
}
