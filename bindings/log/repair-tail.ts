// log/repair-tail.ts: what a read-write open does to the newest segment before it starts its own (log.md section 2).
//
// Order: directory synced; torn bytes copied aside; everything since the last frame that says "all before me was synced" written again, byte for byte, and
// synced; footer; sync. Each step may crash and be repeated. Invariant: no byte of a whole append changes.
import { FOOTER_BYTES, FOOTER_RECOVERED } from '../format/index.ts'
import type { Root, SegmentFile } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import type { Digest } from './commit-log.ts'
import type { NewestSegment } from './examine.ts'
import { sealFooter } from './footer.ts'
import { syncOf, writeTo } from './segment-io.ts'

const COPY_BYTES = 4 * 1024 * 1024
/** Most groups are shorter; in a recycled segment what lies behind is of its earlier use. */
const QUARANTINE_BYTES_MAX = 1024 * 1024

export interface RepairOptions {
  readonly world: World
  readonly digest: Digest
  /** The LOCK is still ours; throws otherwise. */
  readonly check: () => void
}

/** Seals the newest segment at its true tail, unless CLEAN names its footer. */
export async function sealNewest(root: Root, newest: NewestSegment, o: RepairOptions): Promise<void> {
  const { info, scan } = newest
  if (newest.clean) return
  const { failpoints, logger } = o.world
  const file = await root.segment(info.name, { open: 'write' })
  try {
    const records = info.lastLsn - info.firstLsn + 1
    const footer = sealFooter(
      { reason: FOOTER_RECOVERED, records, firstLsn: info.firstLsn, lastLsn: info.lastLsn, bytesUsed: info.used, digest: o.digest },
      info.epoch,
      info.seed,
    )
    const torn = !newest.sealed && (await quarantine(root, file, info.name, info.used, footer, o.world))
    o.check()
    const end = newest.sealed ? info.used + FOOTER_BYTES : info.used
    await rewrite(file, Math.min(scan.lastSynced, end), end)
    await syncOf(file)
    if (newest.sealed) return
    if (failpoints.active) await failpoints.hit(FP.log.beforeFooter, { reason: FOOTER_RECOVERED })
    o.check()
    await writeTo(file, info.used, footer)
    await syncOf(file)
    info.sealed = true
    if (failpoints.active) await failpoints.hit(FP.log.afterFooter, { reason: FOOTER_RECOVERED })
    logger.log({ level: 'info', code: 'log.recovered', segment: info.name, lsn: info.lastLsn, torn })
  } finally {
    await file.close()
  }
}

/** After a failed sync the page cache shows bytes that the disk never got: writing them again makes them dirty again. */
async function rewrite(file: SegmentFile, from: number, end: number): Promise<void> {
  for (let at = from; at < end; at += COPY_BYTES) {
    const bytes = new Uint8Array(Math.min(COPY_BYTES, end - at))
    const n = await file.read(at, bytes)
    await writeTo(file, at, bytes.subarray(0, n))
  }
}

/**
 * Copies what is about to be cut; one name per segment and offset, so a repeated crash adds no copy. Never an error: none of it was acknowledged.
 *
 * Whatever the scan stopped at: of a group that was being written the first sector may be zeros and a later one not, and once the footer lies in between,
 * a repair that is begun anew stops elsewhere.
 *
 * @returns whether there was anything
 */
async function quarantine(root: Root, file: SegmentFile, name: string, offset: number, footer: Uint8Array, world: World): Promise<boolean> {
  const bytes = new Uint8Array(Math.min(QUARANTINE_BYTES_MAX, Math.max(0, file.size - offset)))
  const n = await file.read(offset, bytes)
  const end = endOf(bytes.subarray(0, n))
  if (isPartOf(footer, bytes.subarray(0, end))) return false
  const target = `quarantine/${name.slice(name.lastIndexOf('/') + 1)}-${offset}.torn`
  try {
    await root.putIfAbsent(target, bytes.subarray(0, end))
    world.logger.log({ level: 'warn', code: 'log.tornTail', segment: name, offset, bytes: end, copy: target })
  } catch (error) {
    world.logger.log({ level: 'warn', code: 'log.quarantineFailed', segment: name, offset, bytes: end, error })
  }
  return true
}

/** Behind the last byte that is not 0. */
function endOf(bytes: Uint8Array): number {
  let end = bytes.length
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, end >>> 2)
  if (end % 4 === 0) while (end > 0 && words[end / 4 - 1] === 0) end -= 4
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}

/** Whether these bytes are what a power cut amid the same repair left of its footer: nobody's data, and no copy of it is wanted. */
function isPartOf(footer: Uint8Array, bytes: Uint8Array): boolean {
  return bytes.length <= footer.length && bytes.every((byte, i) => byte === 0 || byte === footer[i])
}
