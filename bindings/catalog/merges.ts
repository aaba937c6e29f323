// catalog/merges.ts: the merges in the fold: which branch has which other one in it, up to where (recovery.md section 13). Pure.
//
// What a merge starts from is the newest position that both branches have in them; without the merges that came before, that would be where they parted.
// Invariant: in log order; of two branches the newest are kept, older ones are forgotten.

import { type ByteReader, type ByteWriter, decodeList, type MergeParent } from '../format/index.ts'
import type { Branches } from './branches.ts'

export interface MergeEntry {
  /** The merge commit. */
  readonly lsn: number
  /** Branches by their numbers. */
  readonly into: number
  readonly source: number
  /** The source up to here is in `into` from `lsn` on. */
  readonly sourceLsn: number
}

/** Of two branches, one into the other: a branch made longer ago may have to be merged from an older base, which is sound. */
const KEPT = 64

export class Merges {
  private entries: MergeEntry[] = []

  get all(): readonly MergeEntry[] {
    return this.entries
  }

  /** Of each branch that was merged into another one, as long as both are there, what the next merge of the two begins with. */
  bases(isKnown: (branch: number) => boolean): { readonly branch: number; readonly lsn: number; readonly into: number }[] {
    const newest = new Map<string, MergeEntry>()
    for (const entry of this.entries) newest.set(`${entry.into} ${entry.source}`, entry)
    return [...newest.values()]
      .filter(({ into, source }) => isKnown(into) && isKnown(source))
      .map(({ into, source, sourceLsn }) => ({ branch: source, lsn: sourceLsn, into }))
  }

  /** Whether the next merge of two branches begins with the version. */
  holds(branches: Branches, branch: number, lsn: number): boolean {
    const owner = branches.ownerAt(branch, lsn)
    return this.bases((each) => branches.isLive(each)).some((base) => base.lsn === lsn && branches.ownerAt(base.branch, base.lsn) === owner)
  }

  fold(lsn: number, into: number, { source, sourceLsn }: MergeParent): void {
    const same = this.entries.filter((each) => each.into === into && each.source === source)
    if (same.length >= KEPT) this.entries.splice(this.entries.indexOf(same[0]!), 1)
    this.entries.push({ lsn, into, source, sourceLsn })
  }

  /** Part of a checkpoint. */
  encode(w: ByteWriter): void {
    w.varint(this.entries.length)
    for (const { lsn, into, source, sourceLsn } of this.entries) for (const each of [lsn, into, source, sourceLsn]) w.varint(each)
  }

  /** @throws DecodeError */
  static decode(r: ByteReader): Merges {
    const merges = new Merges()
    merges.entries = decodeList(r, () => ({ lsn: r.varint(), into: r.varint(), source: r.varint(), sourceLsn: r.varint() }))
    return merges
  }
}
