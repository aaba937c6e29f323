// log/slot-source.ts: the requests for slots: one name, a listing, and gets that begin early because a listing showed their names.
//
// Invariant: what a listing shows only saves time; a slot whose bytes do not verify was read twice before it is called damaged.
import { CorruptionError } from '../errors.ts'
import { isNotFound, readAgain, type RetryOptions, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import { LOG_PREFIX } from './segment-list.ts'
import { parseSlot, type Slot, slotLsnOf, slotName } from './slot.ts'

/** Slots asked for at once where their names are known. */
const READ_AHEAD = 8

type Found = Uint8Array<ArrayBuffer> | undefined

export class SlotSource {
  readonly #root: Root
  readonly #world: World
  readonly #retry: Partial<RetryOptions> | undefined
  /** Names a listing showed, their places in it, and the gets begun for them. */
  #listed: readonly number[] = []
  #places = new Map<number, number>()
  readonly #ahead = new Map<number, Promise<Found>>()

  constructor(root: Root, world: World, retry: Partial<RetryOptions> | undefined) {
    this.#root = root
    this.#world = world
    this.#retry = retry
  }

  /** First LSNs of the slots above `after`, ascending, as a listing shows them. */
  list(after: number): Promise<number[]> {
    return readAgain(
      this.#world,
      async () => {
        const found: number[] = []
        for await (const { name } of this.#root.list(LOG_PREFIX, { after: slotName(after) })) {
          const first = slotLsnOf(name)
          if (first !== undefined) found.push(first)
        }
        return found
      },
      this.#retry,
    )
  }

  /** These will be asked for, one after the other. What was begun before is forgotten. */
  expect(listed: readonly number[]): void {
    this.#listed = listed
    this.#places = new Map(listed.map((first, i) => [first, i]))
    this.#ahead.clear()
  }

  /** This one is at hand. */
  begun(first: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#ahead.set(first, Promise.resolve(bytes))
  }

  /** @returns undefined when there is no such slot; no bytes for a tombstone */
  get(first: number): Promise<Found> {
    const place = this.#places.get(first)
    if (place !== undefined) {
      for (const name of this.#listed.slice(place, place + READ_AHEAD)) {
        if (this.#ahead.has(name)) continue
        const begun = this.fetch(name)
        begun.catch(() => {})
        this.#ahead.set(name, begun)
      }
    }
    const begun = this.#ahead.get(first)
    this.#ahead.delete(first)
    return begun ?? this.fetch(first)
  }

  /** As get, now, or a range of it. */
  async fetch(first: number, range?: { readonly start: number; readonly end: number }): Promise<Found> {
    try {
      const o = range === undefined ? undefined : { range }
      const { bytes } = await readAgain(this.#world, () => this.#root.get(slotName(first), o), this.#retry)
      return bytes as Uint8Array<ArrayBuffer>
    } catch (error) {
      // A range of a tombstone.
      if (error instanceof RangeError) return new Uint8Array(0)
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  /** The slot in these bytes. What does not verify is read once more: it may have been damaged on the way. @throws CorruptionError, StoreTooNewError */
  async parsed(bytes: Uint8Array<ArrayBuffer>, first: number): Promise<Slot> {
    try {
      return parseSlot(bytes, first)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      const again = await this.fetch(first)
      if (again === undefined || again.length === 0) throw error
      return parseSlot(again, first)
    }
  }
}
