// root/crash-state.ts: what a power cut may leave of bytes that were not synced.
//
// Strict POSIX, as in "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014): of what came after the last sync any part may have reached the disk, in
// any order. A write falls into units (pages, or sectors where pages tear); its data and the growth of the file are units of their own; each operation on a
// directory is one. Of two writes to one place the later may survive without the earlier, which is more than a page cache does and never less.
//
// Invariant: a unit that was synced is not asked about; whatever `keep` answers, the result is a state that no promise of POSIX excludes.

/** A change of a file that is not durable yet: bytes at an offset (`before`: the size of the file until then), or a new length. */
export type Change =
  | { readonly seq: number; readonly at: number; readonly bytes: Uint8Array; readonly before: number }
  | { readonly seq: number; readonly size: number }

/** What may survive by itself. `seq`: the order of the operations, over all files and directories; units of one operation share it. */
export interface CrashUnit {
  readonly seq: number
  readonly kind: 'name' | 'size' | 'data'
}

/** Whether a unit survives; asked once for each, in the same order for the same disk and the same answers. */
export type KeepUnit = (unit: CrashUnit) => boolean

export interface CrashModel {
  /** A write survives in pieces of this many bytes, at multiples of it: a page, or the sector of a drive that loses power within one. */
  readonly unitBytes: number
  /** with-data: a file is as long as its last surviving byte. apart: it may have grown without the data, or have the data without having grown. */
  readonly sizes: 'with-data' | 'apart'
  /** Across two directories. ordered: the old name never goes before the new one is there. apart: it may. */
  readonly renames: 'ordered' | 'apart'
  /** What stands where a file has grown and its data is lost: zeros, or what these blocks held before. */
  readonly holes: 'zeros' | 'stale'
}

/** What file systems in use do. */
export const CRASH_MODEL: CrashModel = { unitBytes: 4096, sizes: 'with-data', renames: 'ordered', holes: 'zeros' }
/** The most that POSIX lets happen. */
export const STRICT_MODEL: CrashModel = { unitBytes: 512, sizes: 'apart', renames: 'apart', holes: 'stale' }

export const keepAlways: KeepUnit = () => true

/** The content of a file whose durable bytes are `base` after those units of `pending` survived that `keep` wants. */
export function survivors(base: Uint8Array, pending: readonly Change[], keep: KeepUnit, model: CrashModel): Uint8Array {
  let most = base.length
  for (const change of pending) most = Math.max(most, 'at' in change ? change.at + change.bytes.length : change.size)
  const out = new Uint8Array(most)
  out.set(base)
  if (model.holes === 'stale') stale(out, base.length)
  let length = base.length
  for (const change of pending) {
    if (!('at' in change)) {
      if (!keep({ seq: change.seq, kind: 'size' })) continue
      out.fill(0, Math.min(change.size, length))
      length = change.size
      continue
    }
    const { seq, at, bytes, before } = change
    // What a write skipped reads as zeros.
    if (at > before) out.fill(0, Math.max(before, length), at)
    for (let from = 0; from < bytes.length;) {
      const start = at + from
      const piece = Math.min(bytes.length - from, model.unitBytes - (start % model.unitBytes))
      const apart = model.sizes === 'apart' && start + piece > before
      const grows = apart && keep({ seq, kind: 'size' })
      const kept = keep({ seq, kind: 'data' })
      if (kept) out.set(bytes.subarray(from, from + piece), start)
      if (apart ? grows : kept) length = Math.max(length, start + piece)
      from += piece
    }
  }
  return out.subarray(0, length)
}

/** Bytes that are neither zeros nor a pattern of ours, the same for the same place. */
function stale(out: Uint8Array, from: number): void {
  let x = 0x9e3779b9
  for (let i = from; i < out.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    out[i] = x
  }
}
