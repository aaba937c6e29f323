// log/lock.ts: the numbered LOCK of a local root (log.md section 3): one writing process at a time.
//
// The highest LOCK.<n> is the LOCK. It is taken by "create the next number, then look"; its number is the epoch its owner writes under. It is never removed,
// only outranked, or marked released. Invariant: a lock whose owner may live is never touched; safety rests on the owner's own check (isCurrent),
// the proof that an owner is dead is courtesy.
import { toHex } from '../format/index.ts'
import { CorruptionError, FencedError, LockHeldError, OpenLockTimeoutError, StorageError } from '../errors.ts'
import { type HeldObject, isNotFound, type Root } from '../root/index.ts'
import { FP, type Host, type World } from '../runtime/index.ts'

import { decodeSealed, encodeSealed } from './sealed-json.ts'

const PREFIX = 'LOCK.'

export interface LockHolder {
  readonly pid: number
  readonly host: string
  readonly bootId: string
  readonly processStartTime: string
  readonly instanceId: string
  readonly epoch: number
  readonly nonce: string
}

export interface OpenRetry {
  /** Waits before the second, third, ... attempt, in ms; empty = one attempt. */
  readonly delaysMs: readonly number[]
  /** Outrank a lock whose owner is provably dead, from the second attempt on. */
  readonly cleanupStale: boolean
}

/** What `varve unlock` shows. */
export interface UnlockInfo {
  /** The highest LOCK, 0 = none. */
  readonly number: number
  readonly state: 'absent' | 'released' | 'held' | 'unreadable'
  readonly holder: LockHolder | undefined
  /** Whether the owner lives: false = provably dead, undefined = cannot be told from here. */
  readonly alive: boolean | undefined
}

export interface TakeLockOptions {
  readonly retry: OpenRetry
  /** The highest epoch that anything but the LOCK files states. */
  readonly epochFloor: () => Promise<number>
  readonly signal?: AbortSignal | undefined
}

/** Takes the LOCK. @throws LockHeldError (one attempt asked for), OpenLockTimeoutError, CorruptionError for an unreadable LOCK */
export async function takeLock(root: Root, world: World, o: TakeLockOptions): Promise<Lock> {
  const { delaysMs, cleanupStale } = o.retry
  const startMs = world.clock.monoMs()
  let held: LockHolder | undefined
  let cause: unknown
  for (let attempt = 0; attempt <= delaysMs.length; attempt++) {
    if (attempt > 0) await world.timers.sleep(delaysMs[attempt - 1]!, o.signal, true)
    o.signal?.throwIfAborted()
    try {
      const outcome = await tryLock(root, world, o.epochFloor, attempt > 0 && cleanupStale)
      if (outcome instanceof Lock) return outcome
      held = outcome
      cause = heldError(held, world.host)
    } catch (error) {
      if (!(error instanceof StorageError && error.class === 'unavailable')) throw error
      cause = error
    }
  }
  if (delaysMs.length === 0) throw cause
  const waitedMs = Math.round(world.clock.monoMs() - startMs)
  throw new OpenLockTimeoutError(`${describe(held)} after ${delaysMs.length + 1} attempts in ${waitedMs} ms`, {
    details: { attempts: delaysMs.length + 1, waitedMs, holder: held },
    cause,
  })
}

/** Ours: created by us and the highest number when taken. */
export class Lock {
  readonly epoch: number
  readonly #root: Root
  readonly #held: HeldObject
  #released = false

  constructor(root: Root, epoch: number, held: HeldObject) {
    this.#root = root
    this.epoch = epoch
    this.#held = held
  }

  /** Whether our LOCK file still is the one we created. Synchronous; after each group and before each name given or taken away. */
  isCurrent(): boolean {
    return !this.#released && this.#held.isCurrent()
  }

  /** @throws FencedError */
  assertCurrent(): void {
    if (!this.isCurrent()) throw this.fencedError()
  }

  fencedError(): FencedError {
    return new FencedError(`another writer took the LOCK after our ${PREFIX}${this.epoch}`, {
      details: { scope: 'writer', held: BigInt(this.epoch), seen: BigInt(this.epoch + 1) },
    })
  }

  /** Marks the number as free for a successor; the number itself is never used again. */
  async release(): Promise<void> {
    if (this.isCurrent()) await this.#root.put(`${PREFIX}${this.epoch}`, releasedBytes(this.epoch))
    this.#released = true
    await this.#held.close()
  }

  /** Outranked before it was ours: the file goes. */
  async abandon(): Promise<void> {
    if (this.isCurrent()) await this.#root.delete(`${PREFIX}${this.epoch}`)
    this.#released = true
    await this.#held.close()
  }

  releaseSync(): void {
    if (this.isCurrent()) this.#root.putSync(`${PREFIX}${this.epoch}`, releasedBytes(this.epoch))
    this.#released = true
    this.#held.closeSync()
  }
}

/** Whose the LOCK is. Never throws for an unreadable one. */
export async function unlockInfo(root: Root, world: Pick<World, 'host'>): Promise<UnlockInfo> {
  const number = Math.max(0, ...(await lockNumbers(root)))
  if (number === 0) return { number, state: 'absent', holder: undefined, alive: undefined }
  let state: LockHolder | 'released' | undefined
  try {
    state = await readLock(root, number)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return { number, state: 'unreadable', holder: undefined, alive: undefined }
  }
  if (state === undefined || state === 'released') return { number, state: state === undefined ? 'absent' : 'released', holder: undefined, alive: undefined }
  return { number, state: 'held', holder: state, alive: isAlive(state, world.host) }
}

/**
 * Outranks a lock whose owner is gone, also where that cannot be proved (another host).
 *
 * @returns whose it was
 * @throws LockHeldError when the owner is a live process of this host
 */
export async function forceUnlock(root: Root, world: Pick<World, 'host'>): Promise<UnlockInfo> {
  for (;;) {
    const info = await unlockInfo(root, world)
    if (info.state === 'absent' || info.state === 'released') return info
    if (info.holder !== undefined && info.alive !== false && info.holder.host === world.host.name) throw heldError(info.holder, world.host)
    const next = info.number + 1
    if ((await root.putIfAbsent(`${PREFIX}${next}`, releasedBytes(next))).status === 'exists') continue
    const numbers = await lockNumbers(root)
    if (Math.max(...numbers) === next) await removeBelow(root, numbers, next)
    return info
  }
}

/** The highest LOCK number and whether its owner may be writing: what a reader looks at before it believes the newest segment. */
export async function observeLock(root: Root, world: Pick<World, 'host'>): Promise<{ readonly number: number; readonly live: boolean }> {
  const info = await unlockInfo(root, world)
  return { number: info.number, live: info.state === 'unreadable' || (info.state === 'held' && info.alive !== false) }
}

/** One attempt. @returns the holder when it is held, by somebody who may live or (unless `outrankDead`) not */
async function tryLock(root: Root, world: World, epochFloor: () => Promise<number>, outrankDead: boolean): Promise<Lock | LockHolder> {
  for (;;) {
    // Before the LOCK is read: an epoch that its owner writes meanwhile must not lift us over that owner.
    const floor = await epochFloor()
    const highest = Math.max(0, ...(await lockNumbers(root)))
    if (highest > 0) {
      const state = await readLock(root, highest)
      if (state === undefined) continue
      if (state !== 'released' && !(outrankDead && isAlive(state, world.host) === false)) return state
    }
    const number = 1 + Math.max(highest, floor)
    const nonce = toHex(world.random.bytes(16))
    const { name: host, pid, bootId, processStartTime } = world.host
    const mine = { pid, host, bootId, processStartTime, instanceId: toHex(world.random.bytes(8)), epoch: number, nonce }
    if (world.failpoints.active) await world.failpoints.hit(FP.open.beforeLock, { number })
    const lock = await createOurs(root, world, number, mine)
    if (lock === undefined) continue
    let top: number
    try {
      if (world.failpoints.active) await world.failpoints.hit(FP.open.afterLock, { number })
      const numbers = await lockNumbers(root)
      top = Math.max(0, ...numbers)
      if (top === number && lock.isCurrent()) {
        // Before anything is read: whoever held a lower one must fail its check from here on.
        await removeBelow(root, numbers, number)
        return lock
      }
    } catch (error) {
      // Nobody holds what this call returns an error for: the next open need not wait for this process to end.
      await lock.release().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'lock.releaseFailed', number, cause }))
      throw error
    }
    await lock.abandon()
    if (top <= number) continue
    const winner = await readLock(root, top)
    if (winner !== undefined && winner !== 'released') return winner
  }
}

/** undefined: the number is another's. @throws what kept us from it: then the number is marked as free, as far as can be, for nobody holds it */
async function createOurs(root: Root, world: World, number: number, mine: LockHolder): Promise<Lock | undefined> {
  const name = `${PREFIX}${number}`
  let isOurs = false
  try {
    const { status } = await root.putIfAbsent(name, encodeSealed({ ...mine }))
    if (status === 'exists') return undefined
    isOurs = true
    return await holdOurs(root, number, mine.nonce)
  } catch (error) {
    try {
      // An answer may be lost, and the file be there. One that this process left behind would be taken for held until the process ends.
      const found = isOurs ? undefined : await readLock(root, number)
      if (isOurs || (typeof found === 'object' && found.nonce === mine.nonce)) await root.put(name, releasedBytes(number))
    } catch (cause) {
      world.logger.log({ level: 'warn', code: 'lock.releaseFailed', number, cause })
    }
    throw error
  }
}

/** Holds the file that we just created; undefined when the name leads to another one by now. */
async function holdOurs(root: Root, number: number, nonce: string): Promise<Lock | undefined> {
  const name = `${PREFIX}${number}`
  let held: HeldObject
  try {
    held = await root.hold(name)
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
  // A name that leads to our nonce while it leads to the held file: the held file is ours, for no removed file gets its name back.
  let isOurs = false
  try {
    const state = await readLock(root, number)
    isOurs = typeof state === 'object' && state.nonce === nonce && held.isCurrent()
  } finally {
    if (!isOurs) await held.close()
  }
  return isOurs ? new Lock(root, number, held) : undefined
}

async function removeBelow(root: Root, numbers: readonly number[], number: number): Promise<void> {
  const lower = numbers.filter((other) => other < number)
  if (lower.length > 0) await root.delete(lower.map((other) => `${PREFIX}${other}`))
}

async function lockNumbers(root: Root): Promise<number[]> {
  const numbers: number[] = []
  for await (const { name } of root.list('', { after: PREFIX })) {
    if (!name.startsWith(PREFIX)) break
    const digits = name.slice(PREFIX.length)
    if (/^[1-9][0-9]{0,14}$/.test(digits)) numbers.push(Number(digits))
  }
  return numbers
}

/** @returns undefined when the name is gone */
async function readLock(root: Root, number: number): Promise<LockHolder | 'released' | undefined> {
  const name = `${PREFIX}${number}`
  let bytes: Uint8Array
  try {
    bytes = (await root.get(name)).bytes
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
  const fields = decodeSealed(bytes)
  if (fields === undefined || fields['epoch'] !== number) {
    throw new CorruptionError('log.corrupt', `${name}: its check does not match`, {
      details: { file: name, offset: 0 },
      hint: 'If no process has this store open, run varve unlock --force.',
    })
  }
  return fields['released'] === true ? 'released' : (fields as unknown as LockHolder)
}

function releasedBytes(epoch: number): Uint8Array {
  return encodeSealed({ released: true, epoch })
}

/** False only when it is provably dead. */
function isAlive(holder: LockHolder, host: Host): boolean | undefined {
  if (holder.host !== host.name) return undefined
  if (holder.bootId !== host.bootId) return false
  return host.isAlive(holder.pid, holder.processStartTime)
}

function heldError(holder: LockHolder, host: Host): LockHeldError {
  const alive = isAlive(holder, host)
  const hint = alive === false ? { hint: 'Its owner is dead: open again with a retry, which takes the lock over.' } : {}
  return new LockHeldError(describe(holder), { details: { holder }, ...hint })
}

function describe(holder: LockHolder | undefined): string {
  if (holder === undefined) return 'the LOCK could not be taken'
  return `${PREFIX}${holder.epoch} is held by process ${holder.pid} on ${holder.host}`
}
