// catalog/branches.ts: the names of positions in the fold: branches and tags, and which records make up a branch (recovery.md section 13). Pure.
//
// A branch is its name, where it begins on another one, and the last record that changed it: nothing of its tables is here, so that many cost little. Of a checkpoint
// they are decoded when somebody asks: an open of a store with many does not.
// Invariant: branches and tags share one namespace; a number is used once; what a live branch or a tag stands on (its parents) is kept, also when it was deleted.

import { assert } from '../assert.ts'
import { type BranchRecord, ByteReader, ByteWriter, decodeList, MAIN_BRANCH, WRITE_ID_BYTES } from '../format/index.ts'

/** The number of `main`. */
export const MAIN = 0

export interface BranchEntry {
  readonly name: string
  /** Its number; in records. */
  readonly id: number
  /** Its incarnation: 16 bytes, the id of its create record. */
  readonly branchId: Uint8Array
  /** Number of the branch that it was made of. */
  readonly parent: number
  /** It begins with what `parent` was at this LSN. */
  readonly fromLsn: number
  /** Its create record. */
  readonly createdLsn: number
  /** Last record that changed its rows or definitions; fromLsn: none did. */
  readonly head: number
  /** Its name is free; it is kept because others stand on it. */
  readonly isDeleted: boolean
}

export interface TagEntry {
  readonly name: string
  readonly branch: number
  readonly lsn: number
  /** When it was made. */
  readonly timeMs: number
  readonly message: string | undefined
}

/** Whose records make up the tables of a branch: those of each up to an LSN, ascending; the last has no end. */
export type BranchPath = readonly { readonly branch: number; readonly upto: number }[]

export const MAIN_PATH: BranchPath = [{ branch: MAIN, upto: Number.POSITIVE_INFINITY }]

type Entry = { -readonly [K in keyof BranchEntry]: BranchEntry[K] } & {
  /** Branches made of it and tags on it. */
  uses: number
}

/** What a section of a checkpoint says. */
class Names {
  /** The number of the next branch. */
  nextId = 1
  readonly byId = new Map<number, Entry>()
  readonly byName = new Map<string, Entry>()
  readonly tags = new Map<string, TagEntry>()
}

export class Branches {
  /** As a section of a checkpoint, while that is what they are. */
  private section: Uint8Array<ArrayBuffer> | undefined
  private decoded: Names | undefined

  private constructor(section: Uint8Array<ArrayBuffer> | undefined) {
    this.section = section
  }

  static none(): Branches {
    return new Branches(undefined)
  }

  private get names(): Names {
    return (this.decoded ??= this.section === undefined ? new Names() : decodeNames(this.section))
  }

  /** To be changed. */
  private get changing(): Names {
    const { names } = this
    this.section = undefined
    return names
  }

  /** The number of the next branch. */
  get nextId(): number {
    return this.names.nextId
  }

  /** Live branches, main not among them. */
  get size(): number {
    return this.names.byName.size
  }

  get tagCount(): number {
    return this.names.tags.size
  }

  /** A live branch other than main. */
  named(name: string): BranchEntry | undefined {
    return this.names.byName.get(name)
  }

  /** By its number; deleted ones too, while something stands on them. */
  numbered(id: number): BranchEntry | undefined {
    return this.names.byId.get(id)
  }

  isLive(id: number): boolean {
    return id === MAIN || this.names.byId.get(id)?.isDeleted === false
  }

  nameOf(id: number): string {
    return id === MAIN ? MAIN_BRANCH : (this.names.byId.get(id)?.name ?? `branch ${id}`)
  }

  tag(name: string): TagEntry | undefined {
    return this.names.tags.get(name)
  }

  /** Live branches in the order of their names, main not among them. */
  live(): BranchEntry[] {
    return sorted(this.names.byName)
  }

  /** In the order of their names. */
  tags(): TagEntry[] {
    return sorted(this.names.tags)
  }

  /** Whose records make up this branch. Main, and numbers that nothing stands on any more: main's. */
  path(id: number): BranchPath {
    if (id === MAIN) return MAIN_PATH
    const path: { branch: number; upto: number }[] = []
    let upto = Number.POSITIVE_INFINITY
    for (let at = this.names.byId.get(id); ; at = this.names.byId.get(at.parent)) {
      path.unshift({ branch: at?.id ?? MAIN, upto })
      if (at === undefined) return path
      upto = at.fromLsn
    }
  }

  /** The branch whose record stands at `lsn` in the history of `branch`. */
  ownerAt(branch: number, lsn: number): number {
    let at = this.names.byId.get(branch)
    while (at !== undefined && lsn <= at.fromLsn) at = this.names.byId.get(at.parent)
    return at?.id ?? MAIN
  }

  /** Whether a tag stands on that version, or a live branch begins with it: what vacuum leaves alone for them. */
  holds(branch: number, lsn: number): boolean {
    const owner = this.ownerAt(branch, lsn)
    const isHere = (at: number, position: number): boolean => position === lsn && this.ownerAt(at, position) === owner
    for (const tag of this.tags()) if (isHere(tag.branch, tag.lsn)) return true
    for (const { parent, fromLsn } of this.live()) if (isHere(parent, fromLsn)) return true
    return false
  }

  fold(lsn: number, { timeMs, id, change }: BranchRecord): void {
    const { changing } = this
    switch (change.op) {
      case 'create': {
        const { name, branch, parent, from } = change
        assert(this.isFree(name), 'a name stands for one position', name)
        assert(branch >= changing.nextId && from < lsn, 'a new branch has a new number and begins before its record', { branch, from })
        assert(parent === MAIN || changing.byId.has(parent), 'a branch is made of one that is there', parent)
        changing.nextId = branch + 1
        addEntry(changing, { name, id: branch, branchId: id, parent, fromLsn: from, createdLsn: lsn, head: from, isDeleted: false, uses: 0 })
        break
      }
      case 'delete': {
        const entry = changing.byId.get(change.branch)
        assert(entry?.isDeleted === false, 'a branch that is deleted is there', change.branch)
        entry.isDeleted = true
        changing.byName.delete(entry.name)
        forget(changing, entry)
        break
      }
      case 'tag': {
        const { name, branch, lsn: at, message } = change
        assert(this.isFree(name), 'a name stands for one position', name)
        assert(branch === MAIN || changing.byId.has(branch), 'a tag stands on a branch that is there', branch)
        addTag(changing, { name, branch, lsn: at, timeMs, message })
        break
      }
      case 'untag': {
        const tag = changing.tags.get(change.name)
        assert(tag !== undefined, 'a tag that is deleted is there', change.name)
        changing.tags.delete(change.name)
        release(changing, tag.branch)
        break
      }
    }
  }

  /** Record `lsn` changed rows or definitions of the branch. */
  touch(id: number, lsn: number): void {
    if (id === MAIN) return
    const entry = this.changing.byId.get(id)
    assert(entry?.isDeleted === false, 'what is written to a branch is written while it is there', id)
    entry.head = lsn
  }

  /** Neither a branch nor a tag has the name. */
  isFree(name: string): boolean {
    return name !== MAIN_BRANCH && !this.names.byName.has(name) && !this.names.tags.has(name)
  }

  /** A section of a checkpoint: live branches by name, then those that others stand on by number, then tags by name. */
  encode(): Uint8Array<ArrayBuffer> {
    return (this.section ??= encodeNames(this))
  }

  /** What encode() made; decoded when somebody asks. */
  static of(section: Uint8Array<ArrayBuffer>): Branches {
    return new Branches(section)
  }

  /** Those that others stand on, by number. */
  gone(): BranchEntry[] {
    return [...this.names.byId.values()].filter(({ isDeleted }) => isDeleted).toSorted((a, b) => a.id - b.id)
  }
}

function addEntry(names: Names, entry: Entry): void {
  names.byId.set(entry.id, entry)
  if (!entry.isDeleted) names.byName.set(entry.name, entry)
  use(names, entry.parent)
}

function addTag(names: Names, tag: TagEntry): void {
  names.tags.set(tag.name, tag)
  use(names, tag.branch)
}

function use(names: Names, id: number): void {
  const entry = names.byId.get(id)
  if (entry !== undefined) entry.uses++
}

function release(names: Names, id: number): void {
  const entry = names.byId.get(id)
  if (entry === undefined) return
  entry.uses--
  forget(names, entry)
}

function forget(names: Names, entry: Entry): void {
  if (!entry.isDeleted || entry.uses > 0) return
  names.byId.delete(entry.id)
  release(names, entry.parent)
}

function encodeNames(branches: Branches): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter()
  w.varint(branches.nextId)
  for (const entries of [branches.live(), branches.gone()]) {
    w.varint(entries.length)
    for (const { name, id, branchId, parent, fromLsn, createdLsn, head } of entries) {
      w.text(name)
      w.varint(id)
      w.raw(branchId)
      w.varint(parent)
      w.varint(fromLsn)
      w.varint(createdLsn)
      w.varint(head)
    }
  }
  const tags = branches.tags()
  w.varint(tags.length)
  for (const { name, branch, lsn, timeMs, message } of tags) {
    w.text(name)
    w.varint(branch)
    w.varint(lsn)
    w.u53(timeMs)
    w.text(message ?? '')
  }
  return w.finish()
}

/** @throws DecodeError */
function decodeNames(section: Uint8Array): Names {
  const r = new ByteReader(section)
  const names = new Names()
  names.nextId = r.varint()
  const entries = [false, true].flatMap((isDeleted) => decodeList(r, () => decodeEntry(r, isDeleted)))
  // A parent has a lower number than what was made of it.
  for (const entry of entries.toSorted((a, b) => a.id - b.id)) addEntry(names, entry)
  const tags = decodeList(r, () => ({ name: r.text(), branch: r.varint(), lsn: r.varint(), timeMs: r.u53(), message: r.text() || undefined }))
  for (const tag of tags) addTag(names, tag)
  return names
}

function decodeEntry(r: ByteReader, isDeleted: boolean): Entry {
  return {
    name: r.text(),
    id: r.varint(),
    branchId: r.raw(WRITE_ID_BYTES).slice(),
    parent: r.varint(),
    fromLsn: r.varint(),
    createdLsn: r.varint(),
    head: r.varint(),
    isDeleted,
    uses: 0,
  }
}

function sorted<T extends { readonly name: string }>(entries: ReadonlyMap<string, T>): T[] {
  return [...entries.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
