// log/floor.ts: how far an object log is trimmed: FLOOR.<k>, k dense from 1 (log.md section 4).
//
// A slot is believed, and a won slot acknowledged, only after a floor read that came later shows the floor below it. Reading the floor = get of FLOOR.<k + 1>
// from the highest k known until there is none. It also names the slots it took out of the log, by half of their attempt ids: a writer that stood still between
// its win and its floor read cannot tell a void slot from one that was read, folded and trimmed meanwhile, unless the floor says so.
// Invariant: a FLOOR is created if absent and never overwritten or removed, and its tail is above that of k - 1: so floors only go up, whoever writes them and
// however late.
import { CorruptionError, StoreTooNewError } from '../errors.ts'
import { ATTEMPT_BYTES, parseHex, toHex } from '../format/index.ts'
import { createOnce, isNotFound, readAgain, type RetryOptions, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import type { Digest } from './commit-log.ts'
import { sameBytes, zeroDigest } from './digest.ts'
import { decodeSealed, encodeSealed } from './sealed-json.ts'

const PREFIX = 'FLOOR.'
const FORMAT = 1
/** Hex digits by which a floor names a slot. */
const ID_DIGITS = 16

export interface EpochMark {
  readonly epoch: number
  readonly firstLsn: number
}

export interface Floor {
  /** 0: nothing was ever trimmed. */
  readonly k: number
  /** T: every record at or below is gone, or may be. */
  readonly tail: number
  /** digestAt(tail). */
  readonly digest: Digest
  /** Highest epoch of the records up to `tail`. */
  readonly epoch: number
  /** Exclusive epochs that began at or below `tail`. */
  readonly lineage: readonly EpochMark[]
  /** The slots between the floor before and this one: 16 hex digits of each one's attempt id. */
  readonly slots: string
  /** Wall clock of whoever raised it, unix ms: names are deleted long after, and nothing else depends on it. */
  readonly atMs: number
}

export const NO_FLOOR: Floor = Object.freeze({ k: 0, tail: 0, digest: zeroDigest(), epoch: 0, lineage: Object.freeze([]), slots: '', atMs: 0 })

export interface RaisedFloor extends Pick<Floor, 'tail' | 'digest' | 'epoch' | 'lineage'> {
  /** Attempt ids of the slots above `after`, up to `tail`. */
  readonly attemptsAbove: (after: number) => readonly Uint8Array[]
}

export interface FloorOptions {
  readonly world: World
  readonly storeId: Uint8Array
  readonly retry?: Partial<RetryOptions>
}

/** The floor as one handle knows it. */
export class Floors {
  /** The highest floor read so far. */
  current: Floor = NO_FLOOR
  readonly #root: Root
  readonly #o: FloorOptions

  constructor(root: Root, o: FloorOptions) {
    this.#root = root
    this.#o = o
  }

  /** Begins at floor `hint` if there is one, else at what a listing shows: both only save requests. */
  async find(hint: number | undefined): Promise<Floor> {
    const start = (hint === undefined ? undefined : await this.#get(hint)) ?? (await this.#get(await this.#listed()))
    if (start !== undefined) this.current = start
    return this.read()
  }

  /** The floor now: one request when it has not moved. */
  async read(): Promise<Floor> {
    for (let k = this.current.k + 1; ; k = this.current.k + 1) {
      const next = await this.#get(k)
      if (next === undefined) return this.current
      if (next.k <= this.current.k) continue
      if (next.tail <= this.current.tail) throw damaged(k, `tail ${next.tail} is not above ${this.current.tail}, that of the floor before`)
      this.current = next
    }
  }

  /** Raises the floor to at least `tail`. @returns the floor afterwards, which may be another's and higher */
  async raise(floor: RaisedFloor): Promise<Floor> {
    const { world, storeId, retry } = this.#o
    for (;;) {
      const { k, tail } = await this.read()
      if (tail >= floor.tail) return this.current
      const attempt = world.random.bytes(ATTEMPT_BYTES)
      const slots = floor.attemptsAbove(tail).map(idOf).join('')
      const next: Floor = { ...pick(floor), k: k + 1, slots, atMs: Math.floor(world.clock.nowMs()) }
      const bytes = encodeFloor(next, storeId, attempt)
      const { status } = await createOnce(this.#root, nameOf(next.k), bytes, { world, attempt, attemptOf, ...(retry === undefined ? {} : { retry }) })
      if (status === 'created' && next.k > this.current.k) this.current = next
    }
  }

  /** Whether the slot of this attempt, whose first LSN is at or below the floor, was part of the log when it was trimmed. */
  async tookOut(first: number, attempt: Uint8Array): Promise<boolean> {
    let low = 1
    let high = this.current.k
    while (low < high) {
      const mid = (low + high) >>> 1
      if ((await this.#must(mid)).tail >= first) high = mid
      else low = mid + 1
    }
    const { slots } = await this.#must(low)
    const id = idOf(attempt)
    for (let at = 0; at < slots.length; at += ID_DIGITS) if (slots.startsWith(id, at)) return true
    return false
  }

  /** The highest floor that was raised before `beforeMs`; undefined when there is none. */
  async olderThan(beforeMs: number): Promise<Floor | undefined> {
    let low = 1
    let high = this.current.k
    let found: Floor | undefined
    while (low <= high) {
      const mid = (low + high) >>> 1
      const floor = await this.#must(mid)
      if (floor.atMs < beforeMs) {
        found = floor
        low = mid + 1
      } else high = mid - 1
    }
    return found
  }

  async #must(k: number): Promise<Floor> {
    if (k === this.current.k) return this.current
    const floor = await this.#get(k)
    if (floor === undefined) throw damaged(k, `it is gone, and ${nameOf(this.current.k)} is there`)
    return floor
  }

  async #get(k: number): Promise<Floor | undefined> {
    if (k < 1) return undefined
    try {
      const { bytes } = await readAgain(this.#o.world, () => this.#root.get(nameOf(k)), this.#o.retry)
      return decodeFloor(bytes, k, this.#o.storeId)
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  async #listed(): Promise<number> {
    let highest = 0
    await readAgain(
      this.#o.world,
      async () => {
        for await (const { name } of this.#root.list('', { after: PREFIX })) {
          if (!name.startsWith(PREFIX)) break
          const k = Number(name.slice(PREFIX.length))
          if (Number.isSafeInteger(k) && k > highest) highest = k
        }
      },
      this.#o.retry,
    )
    return highest
  }
}

function pick({ tail, digest, epoch, lineage }: RaisedFloor): Pick<Floor, 'tail' | 'digest' | 'epoch' | 'lineage'> {
  return { tail, digest, epoch, lineage }
}

function idOf(attempt: Uint8Array): string {
  return toHex(attempt.subarray(0, ID_DIGITS / 2))
}

function nameOf(k: number): string {
  return `${PREFIX}${k}`
}

function encodeFloor(floor: Floor, storeId: Uint8Array, attempt: Uint8Array): Uint8Array {
  return encodeSealed({
    format: FORMAT,
    storeId: toHex(storeId),
    k: floor.k,
    tail: floor.tail,
    digest: toHex(floor.digest),
    epoch: floor.epoch,
    lineage: floor.lineage.map(({ epoch, firstLsn }) => `${epoch}@${firstLsn}`).join(' '),
    slots: floor.slots,
    atMs: floor.atMs,
    attempt: toHex(attempt),
  })
}

function attemptOf(bytes: Uint8Array): Uint8Array | undefined {
  return parseHex(decodeSealed(bytes)?.['attempt'], ATTEMPT_BYTES)
}

function decodeFloor(bytes: Uint8Array, k: number, storeId: Uint8Array): Floor {
  const fields = decodeSealed(bytes)
  if (fields === undefined) throw damaged(k, 'its check does not match')
  if (fields['format'] !== FORMAT) {
    throw new StoreTooNewError(`${nameOf(k)} has format ${fields['format']}; this varve reads ${FORMAT}`, {
      details: { found: fields['format'], supported: FORMAT },
    })
  }
  const { tail, epoch, atMs, lineage, slots } = fields
  const owner = parseHex(fields['storeId'], 16)
  const digest = parseHex(fields['digest'], 32)
  if (typeof lineage !== 'string' || typeof slots !== 'string') throw damaged(k, 'a field is missing')
  if (owner === undefined || digest === undefined || !isWhole(tail) || !isWhole(epoch) || !isWhole(atMs) || fields['k'] !== k) {
    throw damaged(k, 'a field is missing')
  }
  if (!sameBytes(owner, storeId)) throw damaged(k, `it belongs to store ${toHex(owner)}, not to ${toHex(storeId)}`)
  const marks = lineage
    .split(' ')
    .filter(Boolean)
    .map((text) => toMark(text, k))
  return { k, tail, digest: digest as Uint8Array as Digest, epoch, lineage: marks, slots, atMs }
}

function toMark(text: string, k: number): EpochMark {
  const [epoch, firstLsn] = text.split('@').map(Number)
  if (!isWhole(epoch) || !isWhole(firstLsn)) throw damaged(k, `epoch mark ${text}`)
  return { epoch, firstLsn }
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function damaged(k: number, why: string): CorruptionError {
  return new CorruptionError('log.corrupt', `${nameOf(k)}: ${why}`, { details: { file: nameOf(k), offset: 0 } })
}
