// store/commit-watch.ts: what stats() says of commits: their rate, how long they took, and the bytes that the store writes for the bytes that it is given.
//
// A writer counts its own. A handle that only reads looks at the times of the newest records: so much a follower can know of a writer in another process.

import { refBytes, type TableChange } from '../format/index.ts'
import { decodeRecord, KIND_COMMIT, KIND_PUBLISH } from '../engine/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { CommitStats, WriteStats } from '../table/index.ts'
import { LATENCY_WINDOW_MS, LatencyWindow } from './latency.ts'
import type { WrittenBytes } from './watched-root.ts'

/** Records that a reader looks back at. */
const RECORDS_BACK = 512

export class CommitWatch {
  private readonly latencies: LatencyWindow
  private readonly written: WrittenBytes
  private committedBytes = 0

  constructor(written: WrittenBytes, nowMs: number) {
    this.written = written
    this.latencies = new LatencyWindow(nowMs)
  }

  committed(changes: readonly TableChange[], durationMs: number, nowMs: number): void {
    this.latencies.record(durationMs, nowMs)
    for (const { inline, fragments } of changes) {
      if (inline !== undefined) this.committedBytes += inline.end - inline.start
      if (fragments !== undefined) for (const ref of fragments) this.committedBytes += refBytes(ref)
    }
  }

  commits(nowMs: number): CommitStats {
    const { count, windowMs, p50, p99, p999, max } = this.latencies.summary(nowMs)
    return { count, windowMs, perSecond: windowMs === 0 ? 0 : (count * 1000) / windowMs, latencyMs: { p50, p99, p999, max } }
  }

  writes(): WriteStats {
    const { log: logBytes, files: fileBytes } = this.written
    const { committedBytes } = this
    return { committedBytes, logBytes, fileBytes, amplification: committedBytes === 0 ? 0 : (logBytes + fileBytes) / committedBytes }
  }
}

/** The rate at which the log has grown of late, by the times of its records. @param nowMs  wall clock */
export async function commitsOf(log: CommitLog, head: number, nowMs: number): Promise<CommitStats> {
  const from = Math.max(Number(log.tail), head - RECORDS_BACK)
  let count = 0
  let firstMs = nowMs
  for await (const batch of log.read(BigInt(from) as Lsn, { end: BigInt(head) as Lsn })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn++)
      const timeMs = record.kind === KIND_COMMIT ? record.commit.timeMs : record.kind === KIND_PUBLISH ? record.publish.commit.timeMs : undefined
      if (timeMs === undefined || timeMs <= nowMs - LATENCY_WINDOW_MS) continue
      firstMs = Math.min(firstMs, timeMs)
      count++
    }
  }
  // More than were looked at: the time they took; fewer: the whole window.
  const windowMs = count > 0 && head - from >= RECORDS_BACK ? Math.max(1, nowMs - firstMs) : LATENCY_WINDOW_MS
  return { count, windowMs, perSecond: (count * 1000) / windowMs }
}
