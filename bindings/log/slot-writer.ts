// log/slot-writer.ts: one group after the other into the next slot, until it is known who won it (log.md section 4, roots.md section 4).
//
//   next name taken by create-if-absent -> floor read -> part of the chain -> told
//
// Invariant: a group is acknowledged only after a floor read that came after its slot was won shows the floor below it, or names it as trimmed; the next name is not touched before the
// fate of this one is known; a group of unknown outcome keeps its bytes and its attempt id.
import { CommitOutcomeUnknownError, LsnTakenError, StorageError } from '../errors.ts'
import { ATTEMPT_BYTES, type EpochRecord, toHex } from '../format/index.ts'
import { createOnce, type RetryOptions } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import type { Lsn } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import type { GroupBuffer } from './group-buffer.ts'
import type { GroupSink } from './group-commit.ts'
import { attemptOfSlot, type Slot, slotBytes, slotName } from './slot.ts'
import type { SlotChain } from './slot-chain.ts'

export interface SlotWriterOptions {
  readonly world: World
  readonly chain: SlotChain
  readonly epoch: number
  readonly seed: bigint
  readonly writerId: Uint8Array
  readonly retry?: Partial<RetryOptions> | undefined
}

export type Placed =
  | { readonly kind: 'won' }
  /** Another writer has it, or it is void: the head is where the log goes on. */
  | { readonly kind: 'lost'; readonly error: LsnTakenError }
  /** Not a byte was written. */
  | { readonly kind: 'refused'; readonly error: StorageError }
  | { readonly kind: 'unknown'; readonly error: CommitOutcomeUnknownError }

interface Attempt {
  readonly slot: Slot
  readonly bytes: Uint8Array
  created: boolean
  readonly done: (error: Error | null, nothingWritten?: boolean) => void
}

export class SlotWriter implements GroupSink {
  readonly epoch: number
  readonly seed: bigint
  readonly short: StorageError | undefined = undefined
  readonly room: number = Infinity
  /** Called when a slot was won. */
  onWon: () => void = () => {}
  /** Called when a group was told its fate: the chain may have gone on behind it. */
  onTold: () => void = () => {}
  readonly #o: SlotWriterOptions
  #open: Attempt | undefined

  constructor(o: SlotWriterOptions) {
    this.#o = o
    this.epoch = o.epoch
    this.seed = o.seed
  }

  /** Records whose outcome is not known. */
  get unresolved(): { readonly first: Lsn; readonly last: Lsn } | undefined {
    return this.#open === undefined ? undefined : { first: BigInt(this.#open.slot.first) as Lsn, last: BigInt(this.#open.slot.last) as Lsn }
  }

  commit(group: GroupBuffer, done: (error: Error | null, nothingWritten?: boolean) => void): void {
    // What is told is told before anybody else gets a turn.
    const run = async () => {
      tell(await this.place(group, done), done)
      this.onTold()
    }
    this.#o.chain.exclusively(() => run().catch(done)).catch(done)
  }

  /** Takes the next slot for the group; the caller has the chain for itself. @throws FencedError, CorruptionError */
  async place(group: GroupBuffer, done: Attempt['done'] = () => {}, epochRecord?: EpochRecord): Promise<Placed> {
    const { chain, world } = this.#o
    if (group.first !== chain.head + 1) return this.#lost(group.first)
    if (world.failpoints.active) {
      try {
        await world.failpoints.hit(FP.log.beforeWrite, { first: group.first })
      } catch (error) {
        // As a request that never left: nothing is in the log, and the group is given back.
        if (error instanceof StorageError) return { kind: 'refused', error }
        throw error
      }
    }
    return this.#settle(this.#make(group, done, epochRecord), false)
  }

  /** Looks again for records of unknown outcome; the caller has the chain for itself. @throws CommitOutcomeUnknownError still not known; FencedError, CorruptionError */
  async resolve(): Promise<{ readonly first: Lsn; readonly last: Lsn; readonly durable: boolean } | undefined> {
    const open = this.#open
    if (open === undefined) return undefined
    const range = this.unresolved!
    try {
      const placed = await this.#settle(open, true)
      tell(placed, open.done)
      if (placed.kind === 'unknown' || placed.kind === 'refused') throw placed.error
      return { ...range, durable: placed.kind === 'won' }
    } catch (error) {
      if (!(error instanceof CommitOutcomeUnknownError)) open.done(error as Error)
      throw error
    }
  }

  #make(group: GroupBuffer, done: Attempt['done'], epochRecord: EpochRecord | undefined): Attempt {
    const { chain, world, writerId } = this.#o
    group.finish(this.seed, true)
    const attempt = world.random.bytes(ATTEMPT_BYTES)
    const { first, last, count, bytes: payloadBytes } = group
    const frames = group.view('frames').slice()
    const highestEpoch = Math.max(chain.epoch, this.epoch)
    const header = { count, payloadBytes, firstLsn: first, epoch: this.epoch, highestEpoch, seed: this.seed, writerId, attempt, digest: chain.digest.slice() }
    const slot: Slot = { name: slotName(first), header, first, last, frames, offsets: group.offsets(), epochRecord }
    return { slot, bytes: slotBytes(header, frames), created: false, done }
  }

  async #settle(open: Attempt, again: boolean): Promise<Placed> {
    const { chain, world, retry } = this.#o
    const { slot, bytes } = open
    const { attempt } = slot.header
    this.#open = undefined
    let untouched = !again && !open.created
    try {
      if (again && world.failpoints.active) await world.failpoints.hit(FP.publish.beforeResolve, { first: slot.first })
      if (!open.created) {
        const options = { world, attempt, attemptOf: attemptOfSlot, unknown: again, ...(retry === undefined ? {} : { retry }) }
        const { status, bytes: found } = await createOnce(chain.root, slot.name, bytes, options)
        untouched = false
        if (status === 'exists') return await this.#readWinner(slot, found?.length === 0)
        open.created = true
      }
      if (world.failpoints.active) await world.failpoints.hit(FP.log.beforeFloorRead, { first: slot.first })
      const floor = await chain.floors.read()
      if (floor.tail >= slot.first && !(await chain.floors.tookOut(slot.first, attempt))) {
        // A void win: the name had been freed while we stood still, and nobody reads it any more.
        await this.#catchUp({ mustExist: false })
        return await this.#lostSlot(slot.first)
      }
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      if (untouched && error.class !== 'unknown') return { kind: 'refused', error }
      this.#open = open
      return { kind: 'unknown', error: unknownOutcome(slot, error) }
    }
    chain.push(slot)
    this.onWon()
    return { kind: 'won' }
  }

  /** The name is taken: by another, or by us, if an answer was lost or something below this code sent the request twice. A tombstone may be that of our slot. */
  async #readWinner(slot: Slot, tombstone: boolean): Promise<Placed> {
    const { chain } = this.#o
    const { attempt } = slot.header
    if (tombstone) await chain.floors.read()
    await this.#catchUp({ mustExist: true })
    const winner = chain.slotOf(slot.first)
    const ours = winner === undefined ? chain.tail >= slot.first && (await chain.floors.tookOut(slot.first, attempt)) : sameBytes(winner.attempt, attempt)
    if (!ours) return this.#lostSlot(slot.first)
    // The chain may not have got past it: then it goes on behind it.
    if (chain.head === slot.first - 1) chain.push(slot)
    this.onWon()
    return { kind: 'won' }
  }

  /** What cannot be read now is read by whoever asks next: that this slot is lost is known. */
  async #catchUp(o: { readonly mustExist: boolean }): Promise<void> {
    try {
      await this.#o.chain.extend(o)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      this.#o.world.logger.log({ level: 'warn', code: 'log.behind', error })
    }
  }

  /** Another's record stands where ours was to be, and is read; what was admitted against the head before it is to be admitted again. */
  async #lostSlot(first: number): Promise<Placed> {
    const { failpoints } = this.#o.world
    if (failpoints.active) await failpoints.hit(FP.publish.lostSlot, { first })
    return this.#lost(first)
  }

  #lost(first: number): Placed {
    const { head } = this.#o.chain
    return { kind: 'lost', error: new LsnTakenError(`another writer took LSN ${first}; the log is at ${head}`, { details: { head: BigInt(head) } }) }
  }
}

function tell(placed: Placed, done: Attempt['done']): void {
  if (placed.kind === 'won') done(null)
  else done(placed.error, placed.kind === 'refused')
}

function unknownOutcome(slot: Slot, cause: StorageError): CommitOutcomeUnknownError {
  return new CommitOutcomeUnknownError(`whether LSN ${slot.first} to ${slot.last} are in the log is not known yet`, {
    details: { writeId: toHex(slot.header.attempt), intentKept: false },
    cause,
  })
}
