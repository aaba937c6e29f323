// testing/contracts/log-records.ts: what the suite of commit logs is handed, the records it writes, and how it reads a log back.
//
// The chain oracle uses the platform's SHA-256, not the kernel that the logs use.
import { FRAME_HEADER_BYTES, readFrameHeader } from '../../format/index.ts'
import { type CommitLog, type Digest, lsn, type LogRecord, type Lsn } from '../../log/index.ts'
import type { FailpointName, FailpointRegistry } from '../../runtime/index.ts'

import { checkEqual } from './check.ts'

export interface LogFixture {
  readonly log: CommitLog
  /** Another handle on the same place after this one was closed. */
  readonly reopen: () => Promise<CommitLog>
  /** The process is killed, everything written stays; opened again. */
  readonly kill: () => Promise<CommitLog>
  /** A power cut: what was not synced is kept or lost by the seed; opened again. */
  readonly powerCut?: (seed: number) => Promise<CommitLog>
  /** A handle that only reads, beside the writer. */
  readonly reader?: () => Promise<CommitLog>
  /** Data syncs so far, where they can be counted. */
  readonly syncs?: () => number
  /** Points of FP.log that a workload of this log passes; default: those of a log of segments. */
  readonly points?: readonly FailpointName[]
  /** The named points of the log's world, where it has any. */
  readonly failpoints?: FailpointRegistry
  readonly dispose?: () => Promise<void>
}

export interface LogFixtureOptions {
  readonly durability?: 'synced' | 'buffered'
  readonly segmentBytes?: number
  /** Draw the same ids every time, so that two logs fed the same records are the same log. */
  readonly sameIds?: boolean
}

export type MakeLog = (o?: LogFixtureOptions) => Promise<LogFixture>

export function record(id: number): LogRecord {
  const payload = new Uint8Array(40 + (id % 9))
  new DataView(payload.buffer).setUint32(0, id, true)
  payload.fill(id, 4)
  return { kind: 2, payload }
}

export interface FoundRecord {
  readonly kind: number
  readonly flags: number
  readonly payload: Uint8Array
  readonly frame: Uint8Array
}

export function recordsOf(batch: { readonly bytes: Uint8Array; frames(): readonly Uint8Array[] }): FoundRecord[] {
  return batch.frames().map((frame) => {
    const header = readFrameHeader(new DataView(frame.buffer, frame.byteOffset, frame.length), 0)
    return { kind: header.kind, flags: header.flags, payload: frame.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + header.length), frame }
  })
}

export async function readAll(log: CommitLog, start: Lsn): Promise<FoundRecord[]> {
  const found: FoundRecord[] = []
  let next = start + 1n
  for await (const batch of log.read(start)) {
    checkEqual(batch.first, next, 'first LSN of the batch')
    found.push(...recordsOf(batch))
    next = batch.last + 1n
  }
  return found
}

/** Ids of the commit records. */
export function idsOf(records: readonly FoundRecord[]): number[] {
  return records.filter(({ kind }) => kind === 2).map(({ payload }) => idOf(payload))
}

export function idOf(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0, true)
}

/** The oracle of the chain: digestAt(0) .. digestAt(head), with SHA-256 of the platform. The log must begin at 0. */
export async function chainOf(log: CommitLog): Promise<Digest[]> {
  const sha256 = async (bytes: Uint8Array): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice()))
  let digest = new Uint8Array(32)
  const chain = [digest as Uint8Array as Digest]
  for (const { frame, payload } of await readAll(log, lsn(0))) {
    const bytes = frame.slice(8, FRAME_HEADER_BYTES + payload.length)
    bytes[6] = 0
    bytes[7] = 0
    const link = new Uint8Array(64)
    link.set(digest)
    link.set(await sha256(bytes), 32)
    digest = new Uint8Array(await sha256(link))
    chain.push(digest as Uint8Array as Digest)
  }
  return chain
}
