// log/slot-chain.ts: what one handle knows of an object log: which slots make it up, where it ends, its digests (log.md section 4).
//
// Found by get of the next slot until there is none; a listing only says which gets to begin early. Invariant: a slot enters `slots` only after a floor read that
// came later than it was read shows the floor below it, its digest continues the chain, and its epoch is not below the fence; so `slots` is dense up to `head`.
import { FencedError, StorageError } from '../errors.ts'
import { SLOT_HEADER_BYTES, type SlotHeader } from '../format/index.ts'
import { BackOff, type RetryOptions, type Root } from '../root/index.ts'
import { Mutex, type World } from '../runtime/index.ts'

import { advanceOver } from './chain.ts'
import type { Digest, LogBatch, Lsn } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { type EpochMark, type Floor, Floors, NO_FLOOR } from './floor.ts'
import { scanKernel } from './frame-cursor.ts'
import { Batch, corrupt, unavailable } from './segment-reader.ts'
import { parseSlotHeader, type Slot, slotName } from './slot.ts'
import { SlotSource } from './slot-source.ts'

/** Slots read again at once. */
const READ_AHEAD = 8
const HEADERS_AT_ONCE = 16
/** Slots read before the floor is looked at. */
const LOOK_SLOTS = 64
const LOOK_BYTES = 8 * 1024 * 1024
/** Frames of the newest slots kept in memory. */
const KEEP_BYTES = 4 * 1024 * 1024
/** How long a name that must be there is looked for. */
const MUST_EXIST: Partial<RetryOptions> = { attempts: 20, baseMs: 20, capMs: 500, deadlineMs: 5_000 }

export interface SlotInfo {
  readonly first: number
  readonly last: number
  readonly epoch: number
  /** Bytes of the object. */
  readonly bytes: number
  /** digestAt(first - 1). */
  readonly digest: Digest
  readonly attempt: Uint8Array
  frames: { readonly bytes: Uint8Array; readonly offsets: Uint32Array } | undefined
}

export interface ChainOptions {
  readonly world: World
  readonly storeId: Uint8Array
  readonly retry?: Partial<RetryOptions> | undefined
  /** Slots that begin above it are not part of the log. */
  readonly until?: number | undefined
}

export class SlotChain {
  readonly root: Root
  readonly floors: Floors
  /** Ascending and dense from `base`; the last one ends at `head`. */
  slots: SlotInfo[] = []
  /** LSN behind which `slots` begins; at or above T. */
  base = 0
  head = 0
  /** digestAt(head). */
  digest: Digest = NO_FLOOR.digest
  /** The highest epoch of all records. */
  epoch = 0
  /** Exclusive epochs, ascending; those between T and where the chain was begun are known after reachDown(). */
  lineage: readonly EpochMark[] = []
  /** The epoch of this handle: a higher exclusive one fences it. */
  own: number = Infinity
  /** The lowest LSN that a pin of this handle holds; Infinity without one. */
  pinned: () => number = () => Infinity
  readonly #o: ChainOptions
  readonly #mutex = new Mutex()
  readonly #kept: SlotInfo[] = []
  #keptBytes = 0
  readonly #source: SlotSource
  #bytes = 0
  /** The highest floor that was held against the chain. */
  #checkedTail = 0
  #reaching: Promise<void> | undefined

  constructor(root: Root, o: ChainOptions) {
    this.root = root
    this.#o = o
    this.#source = new SlotSource(root, o.world, o.retry)
    this.floors = new Floors(root, { world: o.world, storeId: o.storeId, ...(o.retry === undefined ? {} : { retry: o.retry }) })
  }

  get tail(): number {
    return this.floors.current.tail
  }

  /** Below it nothing is read: T, or the lowest LSN that a pin of this handle holds. */
  get bottom(): number {
    return Math.min(this.tail, this.pinned())
  }

  /** Of the slots known. */
  get bytes(): number {
    return this.#bytes
  }

  /** One at a time: whoever moves the head. */
  exclusively<T>(fn: () => Promise<T>): Promise<T> {
    return this.#mutex.run(fn)
  }

  /** Begins at T, or at the slot that holds `from` + 1 or ends at `from`, and follows the slots to the head. */
  async find(o: { readonly from: number; readonly floorHint: number | undefined }): Promise<void> {
    this.#jump(await this.floors.find(o.floorHint))
    const listed = (await this.#source.list(this.tail)).filter((first) => first <= (this.#o.until ?? Infinity))
    this.#source.expect(listed)
    const start = listed.findLast((first) => first <= o.from + 1)
    if (start !== undefined && start > this.tail + 1) await this.#beginAt(start)
    await this.extend()
    await this.#checkListed(listed)
    this.#source.expect([])
  }

  /**
   * Reads the slots behind the head until there is none. `mustExist`: the next name is known to be taken.
   *
   * @returns whether the head has moved
   * @throws FencedError a higher exclusive epoch was read; CorruptionError; StorageError
   */
  async extend(o: { readonly mustExist?: boolean } = {}): Promise<boolean> {
    const before = this.head
    let backOff: BackOff | undefined
    for (;;) {
      const look = await this.#look()
      const floor = await this.floors.read()
      if (floor.tail > this.head) {
        // What was read may lie in slots that nobody reads any more: a void one looks whole.
        this.#jump(floor)
        continue
      }
      this.forget()
      for (const slot of look.slots) this.#believe(slot)
      if (look.stop === 'more') continue
      const contradicts = look.stop !== 'none' || (o.mustExist === true && this.head === before)
      if (!contradicts) return this.head > before
      if (look.error !== undefined) throw look.error
      // A tombstone above the floor, or a taken name without an object: a late answer of the place, or damage.
      backOff ??= new BackOff(this.#o.world, MUST_EXIST)
      if (await backOff.next()) continue
      if (look.stop === 'tombstone') throw corrupt(slotName(this.head + 1), `it is a tombstone above the floor, which is ${floor.tail}`, 0, this.head + 1)
      throw new StorageError(`get ${slotName(this.head + 1)}: it is taken, and not there`, {
        details: { op: 'get', name: slotName(this.head + 1), class: 'unavailable' },
      })
    }
  }

  /** A slot of our own that was won, with the floor below it. */
  push(slot: Slot): void {
    this.#believe(slot)
  }

  /** Drops what a floor read has put out of the log and no pin of ours holds. @throws CorruptionError when the floor contradicts the chain */
  forget(): void {
    const floor = this.floors.current
    // A floor above what we have read: the next look begins behind it.
    if (floor.tail > this.head) return
    if (floor.tail > this.#checkedTail && floor.tail >= this.base) {
      const next = this.slots.find(({ first }) => first > floor.tail) ?? { first: this.head + 1, digest: this.digest }
      if (next.first !== floor.tail + 1 || !sameBytes(next.digest, floor.digest)) {
        throw corrupt(`FLOOR.${floor.k}`, `it says the log begins after LSN ${floor.tail} with another digest than the slots`, 0, floor.tail)
      }
      this.#checkedTail = floor.tail
    }
    const { bottom } = this
    if (bottom <= this.base) return
    let gone = 0
    while (gone < this.slots.length && this.slots[gone]!.last <= bottom) this.#bytes -= this.slots[gone++]!.bytes
    this.slots.splice(0, gone)
    this.base = (this.slots[0]?.first ?? this.head + 1) - 1
  }

  /** The slot that holds `lsn`. */
  slotOf(lsn: number): SlotInfo | undefined {
    const at = this.#indexOf(lsn)
    return at < 0 ? undefined : this.slots[at]
  }

  /** Where the last slot that ends at or below `lsn` ends; T when there is none. `slots` reaches down to T afterwards. */
  async boundary(lsn: number): Promise<number> {
    await this.reachDown()
    return this.slots.findLast(({ last }) => last <= lsn)?.last ?? this.tail
  }

  async digestAt(lsn: number): Promise<Digest> {
    if (lsn === this.head) return this.digest
    if (lsn >= this.tail && lsn < this.base) await this.reachDown()
    if (lsn < this.bottom || lsn > this.head) throw unavailable(lsn, this.tail, this.head)
    if (lsn === this.tail) return this.floors.current.digest
    const next = this.slotOf(lsn + 1)
    if (next?.first === lsn + 1) return next.digest
    const info = this.slotOf(lsn)!
    const [{ bytes, offsets }] = (await this.#load([info], lsn)) as [NonNullable<SlotInfo['frames']>]
    return advanceOver(scanKernel(), info.digest, bytes, offsets.subarray(0, lsn - info.first + 1))
  }

  /** Verified records start < lsn <= end, one batch a slot. */
  async *read(start: number, end: number, check: () => void): AsyncGenerator<LogBatch> {
    for (let at = start; at < end;) {
      check()
      if (at < this.bottom) throw unavailable(at, this.tail, this.head)
      if (at < this.base) await this.reachDown()
      const from = this.#indexOf(at + 1)
      if (from < 0) throw unavailable(at, this.tail, this.head)
      const run = this.slots.slice(from, from + READ_AHEAD).filter(({ first }) => first <= end)
      const loaded = await this.#load(run, at)
      for (let i = 0; i < run.length; i++) {
        check()
        yield batchOf(run[i]!, loaded[i]!, at, end, (lsn) => this.digestAt(Number(lsn)))
        at = Math.min(run[i]!.last, end)
      }
    }
  }

  /** Fills `slots` down to T: headers only, and the slots that began an epoch. */
  reachDown(): Promise<void> {
    if (this.base <= this.tail) return Promise.resolve()
    this.#reaching ??= this.#reachDown().finally(() => (this.#reaching = undefined))
    return this.#reaching
  }

  /** The head of the chain is put before a slot in the middle; extend() reads the floor before it believes any. */
  async #beginAt(first: number): Promise<void> {
    const bytes = await this.#source.get(first)
    if (bytes === undefined || bytes.length === 0) return
    const header = parseSlotHeader(bytes, first)
    this.base = this.head = first - 1
    this.digest = header.digest as Uint8Array as Digest
    this.epoch = header.highestEpoch
    this.#source.begun(first, bytes)
  }

  /** A name above the head that a listing showed: what lies between must be there, perhaps a late answer later. */
  async #checkListed(listed: readonly number[]): Promise<void> {
    const backOff = new BackOff(this.#o.world, MUST_EXIST)
    for (;;) {
      const found = listed.findLast((first) => first > this.head)
      if (found === undefined) return
      this.#source.expect([])
      await this.extend()
      if (found <= this.head) continue
      if (!(await backOff.next())) throw corrupt(slotName(this.head + 1), `it is missing, and ${slotName(found)} is there`, 0, this.head + 1)
    }
  }

  /** The next slots, not believed yet. */
  async #look(): Promise<{ slots: Slot[]; stop: 'none' | 'more' | 'tombstone' | 'bad'; error?: unknown }> {
    const slots: Slot[] = []
    let next = this.head + 1
    for (let size = 0; slots.length < LOOK_SLOTS && size < LOOK_BYTES;) {
      const bytes = next > (this.#o.until ?? Infinity) ? undefined : await this.#source.get(next)
      if (bytes === undefined) return { slots, stop: 'none' }
      if (bytes.length === 0) return { slots, stop: 'tombstone' }
      try {
        const slot = await this.#source.parsed(bytes, next)
        slots.push(slot)
        next = slot.last + 1
        size += bytes.length
      } catch (error) {
        // Whether it matters is for the floor to say.
        return { slots, stop: 'bad', error }
      }
    }
    return { slots, stop: 'more' }
  }

  #believe(slot: Slot): void {
    const { header, name, first, last } = slot
    const fence = this.lineage.at(-1)?.epoch ?? 0
    if (!sameBytes(header.digest, this.digest)) throw corrupt(name, `its digest at LSN ${first - 1} is not that of the slots before it`, 88, first)
    if (header.epoch < fence) throw corrupt(name, `epoch ${header.epoch} follows the exclusive epoch ${fence}`, 32, first)
    // Begun in the middle, the chain has the highest epoch from this very header.
    if (header.highestEpoch !== Math.max(this.epoch, header.epoch)) throw corrupt(name, `highest epoch ${header.highestEpoch} after ${this.epoch}`, 40, first)
    const info: SlotInfo = { ...infoOf(header, this.digest), frames: { bytes: slot.frames, offsets: slot.offsets } }
    this.digest = advanceOver(scanKernel(), this.digest, slot.frames, slot.offsets)
    this.slots.push(info)
    this.#bytes += info.bytes
    this.head = last
    this.epoch = header.highestEpoch
    this.#keep(info)
    if (slot.epochRecord?.mode !== 'exclusive') return
    this.lineage = [...this.lineage, { epoch: header.epoch, firstLsn: first }]
    if (header.epoch > this.own) throw fenced(this.own, header.epoch)
  }

  #keep(info: SlotInfo): void {
    this.#kept.push(info)
    this.#keptBytes += info.frames!.bytes.length
    while (this.#keptBytes > KEEP_BYTES && this.#kept.length > 1) {
      const oldest = this.#kept.shift()!
      this.#keptBytes -= oldest.frames!.bytes.length
      oldest.frames = undefined
    }
  }

  /** The log begins behind a floor that we did not reach. */
  #jump(floor: Floor): void {
    this.slots = []
    this.#bytes = 0
    this.#checkedTail = floor.tail
    this.base = this.head = floor.tail
    this.digest = floor.digest.slice() as Digest
    this.epoch = Math.max(this.epoch, floor.epoch)
    this.lineage = floor.lineage
    const fence = floor.lineage.at(-1)?.epoch ?? 0
    if (fence > this.own) throw fenced(this.own, fence)
  }

  #indexOf(lsn: number): number {
    const { slots } = this
    let low = 0
    let high = slots.length - 1
    while (low <= high) {
      const mid = (low + high) >>> 1
      if (lsn < slots[mid]!.first) high = mid - 1
      else if (lsn > slots[mid]!.last) low = mid + 1
      else return mid
    }
    return -1
  }

  /** The frames of slots that are part of the log: from memory, or read again and verified; the floor is looked at after they were read. */
  async #load(run: readonly SlotInfo[], at: number): Promise<NonNullable<SlotInfo['frames']>[]> {
    const kept = run.map(({ frames }) => frames)
    if (kept.every((frames) => frames !== undefined)) return kept
    const found = await Promise.all(run.map((info, i) => kept[i] ?? this.#reread(info).catch((error: unknown) => new Failure(error))))
    await this.floors.read()
    if (at < this.bottom) throw unavailable(at, this.tail, this.head)
    return found.map((each) => {
      if (each instanceof Failure) throw each.error
      return each
    })
  }

  async #reread(info: SlotInfo): Promise<NonNullable<SlotInfo['frames']>> {
    const bytes = await this.#mustGet(info.first)
    const slot = await this.#source.parsed(bytes, info.first)
    if (slot.last !== info.last || !sameBytes(slot.header.attempt, info.attempt)) throw corrupt(slot.name, 'it is not the slot that was here', 0, info.first)
    const next = this.slotOf(info.last + 1)
    const after = next?.digest ?? (info.last === this.head ? this.digest : undefined)
    if (after !== undefined && !sameBytes(after, advanceOver(scanKernel(), info.digest, slot.frames, slot.offsets))) {
      throw corrupt(slot.name, `its digest at LSN ${info.last} is not what the next slot begins with`, 88, info.last)
    }
    return { bytes: slot.frames, offsets: slot.offsets }
  }

  /** @throws CorruptionError when there is nothing, or a tombstone, under the name and the floor is below it */
  async #mustGet(first: number, range?: { readonly start: number; readonly end: number }): Promise<Uint8Array<ArrayBuffer>> {
    const backOff = new BackOff(this.#o.world, MUST_EXIST)
    for (;;) {
      const bytes = await this.#source.fetch(first, range)
      if (bytes !== undefined && bytes.length > 0) return bytes
      if ((await this.floors.read()).tail >= first) throw unavailable(first - 1, this.tail, this.head)
      if (!(await backOff.next())) throw corrupt(slotName(first), 'it is missing', 0, first)
    }
  }

  async #reachDown(): Promise<void> {
    const { tail, base } = this
    const listed = (await this.#source.list(tail)).filter((first) => first <= base)
    const headers = new Map<number, SlotHeader>()
    const get = async (first: number) => headers.set(first, parseSlotHeader(await this.#mustGet(first, { start: 0, end: SLOT_HEADER_BYTES }), first))
    for (let i = 0; i < listed.length; i += HEADERS_AT_ONCE) await Promise.all(listed.slice(i, i + HEADERS_AT_ONCE).map(get))
    const floor = this.floors.current
    const found: SlotInfo[] = []
    const lineage = [...floor.lineage]
    let epoch = floor.epoch
    for (let next = tail + 1; next <= base;) {
      if (!headers.has(next)) await get(next)
      const header = headers.get(next)!
      if (next === tail + 1 && !sameBytes(header.digest, floor.digest)) throw corrupt(slotName(next), 'its digest is not the one the floor states', 88, next)
      if (header.highestEpoch > epoch) {
        const { epochRecord } = await this.#source.parsed(await this.#mustGet(next), next)
        if (epochRecord?.mode === 'exclusive') lineage.push({ epoch: header.epoch, firstLsn: next })
      }
      epoch = header.highestEpoch
      found.push({ ...infoOf(header, header.digest as Uint8Array as Digest), frames: undefined })
      next += header.count
      if (next > base + 1) throw corrupt(slotName(header.firstLsn), `it reaches LSN ${next - 1}, and a slot begins at ${base + 1}`, 16, header.firstLsn)
    }
    // Read after the headers. A floor that rose meanwhile has said what goes.
    await this.floors.read()
    if (this.base !== base) return this.base > this.tail ? this.#reachDown() : undefined
    this.slots = [...found, ...this.slots]
    for (const { bytes } of found) this.#bytes += bytes
    this.base = tail
    this.lineage = [...lineage, ...this.lineage.filter(({ firstLsn }) => firstLsn > base)]
    this.forget()
  }
}

class Failure {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

function infoOf(header: SlotHeader, digest: Digest): Omit<SlotInfo, 'frames'> {
  const { firstLsn, count, epoch, payloadBytes, attempt } = header
  return { first: firstLsn, last: firstLsn + count - 1, epoch, bytes: SLOT_HEADER_BYTES + payloadBytes, digest, attempt }
}

function batchOf(info: SlotInfo, frames: NonNullable<SlotInfo['frames']>, start: number, end: number, digestAt: (lsn: Lsn) => Promise<Digest>): LogBatch {
  const first = Math.max(info.first, start + 1)
  const last = Math.min(info.last, end)
  const listed = frames.offsets.subarray(first - info.first, last - info.first + 1)
  const shift = listed[0]!
  const until = frames.offsets[last - info.first + 1] ?? frames.bytes.length
  return new Batch(first, last, info.epoch, frames.bytes.subarray(shift, until), shift === 0 ? listed : listed.map((offset) => offset - shift), digestAt)
}

function fenced(held: number, seen: number): FencedError {
  return new FencedError(`epoch ${held} of this writer was fenced by the exclusive epoch ${seen}`, {
    details: { scope: 'writer', held: BigInt(held), seen: BigInt(seen) },
  })
}
