// log/tail.ts: what it means that a scan of the newest segment stopped (log.md section 2, "Tail decision"). Pure.
//
// A power cut may persist the pages of one unsynced group in any order, so a good frame behind a broken one proves nothing by itself; one that says
// "everything before me was synced" does. Invariant: what was acknowledged is never cut, and what was never synced is never called damage.

/** Stop codes of wal_scan (kernels.md section 4). */
export const STOP = { end: 0, capacity: 1, zeros: 2, short: 3, length: 4, checksum: 5, sequence: 6, epoch: 7, padding: 8, footer: 9 } as const

const NAMES = ['the end of the file', 'capacity', 'zeros', 'a short frame', 'a length over the bound', 'a checksum mismatch'] as const
const DAMAGE = { [STOP.sequence]: 'an LSN out of order', [STOP.epoch]: 'an epoch below its segment', [STOP.padding]: 'an unknown kind or undefined bits' }

export interface TailFacts {
  readonly stop: number
  /** File offset at which the scan stopped. */
  readonly stopOffset: number
  /** LSN expected there. */
  readonly nextLsn: number
  /** Offset of the first later frame that verifies, has the synced-before bit and an LSN not below the expected one. */
  readonly later: number | undefined
}

export type TailDecision =
  | { readonly kind: 'sealed' }
  /** Cut back to the end of the last whole append; bytes of something unfinished may lie behind it. */
  | { readonly kind: 'torn' }
  | { readonly kind: 'damage'; readonly why: string; readonly offset: number; readonly lsn: number; readonly laterOffset: number | undefined }

/** Stops behind which later frames must be looked for. */
export function mayBeTorn(stop: number): boolean {
  return stop === STOP.end || stop === STOP.zeros || stop === STOP.short || stop === STOP.length || stop === STOP.checksum
}

export function decideTail(facts: TailFacts): TailDecision {
  const { stop, stopOffset, nextLsn, later } = facts
  if (stop === STOP.footer) return { kind: 'sealed' }
  const offset = stopOffset
  if (!mayBeTorn(stop)) {
    return { kind: 'damage', why: DAMAGE[stop as keyof typeof DAMAGE] ?? `scan stop ${stop}`, offset, lsn: nextLsn, laterOffset: undefined }
  }
  if (later !== undefined) {
    const why = `${NAMES[stop]} before a frame at ${later} that was written after everything before it was synced`
    return { kind: 'damage', why, offset, lsn: nextLsn, laterOffset: later }
  }
  return { kind: 'torn' }
}
