// ship/host-files.ts: the file gate of a replica host: what is missing is asked for, what comes is hashed on its way to the root (docs/shipping.md "Replica").
//
// Invariant: a file gets its name only when its length and SHA-256 are those that were asked for; what is there already is read and hashed before it is believed.

import { FragmentHashError } from '../errors-ship.ts'
import { isContentName, type Message, toHex } from '../format/index.ts'
import { Sha256, sha256 } from '../kernels/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { type Failpoints, FP, type World } from '../runtime/index.ts'
import type { FileRef } from './types.ts'

type Piece = Extract<Message, { readonly type: 'fragment' }>

/** Times that one file may fail its hash. */
const ATTEMPTS_MAX = 3
/** Bytes that may wait to be stored before the link is read on. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024
/** Files read at one time to see whether they are what they are called. */
const LOOKS_AT_ONCE = 4
const LOOK_BYTES = 4 * 1024 * 1024

interface Wanted {
  readonly file: FileRef
  readonly hash: string
  readonly bytes: number
  /** Where it goes: generations of one content have a name each. */
  readonly names: Set<string>
  /** Where it goes besides. */
  keep: ((bytes: Uint8Array) => void) | undefined
  readonly lsn: number
  attempts: number
  incoming: Incoming | undefined
  readonly there: Promise<void>
  readonly settle: (error?: unknown) => void
}

export interface FileGateParts {
  readonly root: Root
  readonly world: Pick<World, 'failpoints'>
  /** Sends a `want`. */
  readonly ask: (lsn: number, files: readonly FileRef[]) => void
  /** Told of a file that was there already, before it is looked at. */
  readonly found: (name: string) => void
  /** A file is gone at its source: what needs it is given up before it counts as there. @throws where that may not be */
  readonly dead: (lsn: number) => Promise<void>
  /** The bytes of a piece are not looked at any more. */
  readonly done?: (bytes: Uint8Array) => void
}

export class FileGate {
  private readonly parts: FileGateParts
  private readonly wanted = new Map<string, Wanted>()
  /** Names stored, or read and found good, over this link. */
  private readonly held = new Set<string>()
  private waitingBytes = 0
  private roomFor: (() => void)[] = []
  private ended: unknown

  constructor(parts: FileGateParts) {
    this.parts = parts
  }

  /** Asks for what is missing; resolves when all of it is there. @param lsn  0: of a base */
  async ensure(lsn: number, files: readonly FileRef[]): Promise<void> {
    const missing = await this.missing(files)
    await Promise.all(this.request(lsn, missing, true))
  }

  /** Those that are not there as they should be. */
  async missing(files: readonly FileRef[]): Promise<FileRef[]> {
    const missing: FileRef[] = []
    const queue = files.values()
    const lane = async (): Promise<void> => {
      for (const file of queue) if (!(await this.isHeld(file))) missing.push(file)
    }
    await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, lane))
    return missing
  }

  /** @returns one promise per content: it is stored */
  request(lsn: number, files: readonly FileRef[], asks: boolean, keep?: (bytes: Uint8Array) => void): Promise<void>[] {
    if (this.ended !== undefined) throw this.ended as Error
    const fresh: FileRef[] = []
    const promises = new Set<Promise<void>>()
    for (const file of files) {
      const hash = toHex(file.hash)
      let wanted = this.wanted.get(hash)
      if (wanted === undefined) {
        this.wanted.set(hash, (wanted = wantedOf(file, hash, lsn)))
        fresh.push(file)
      }
      if (keep === undefined) wanted.names.add(file.name)
      else wanted.keep = keep
      promises.add(wanted.there)
    }
    if (asks && fresh.length > 0) this.parts.ask(lsn, fresh)
    return [...promises]
  }

  /** A piece came. The promise, if any, is for the reader of the link: there is more than enough to store. @throws FragmentHashError */
  piece(piece: Piece): Promise<void> | undefined {
    const wanted = this.wanted.get(toHex(piece.hash))
    // Asked for twice, or no longer.
    if (wanted === undefined) {
      this.parts.done?.(piece.bytes)
      return undefined
    }
    if (piece.dead) return this.parts.dead(wanted.lsn).then(() => this.settle(wanted))
    if (piece.total !== wanted.bytes) return this.failed(wanted, `${piece.total} bytes, expected ${wanted.bytes}`)
    if (piece.offset === 0) {
      wanted.incoming?.abort()
      wanted.incoming = undefined
      if (piece.bytes.length === wanted.bytes) return this.whole(wanted, piece.bytes)
      wanted.incoming = this.begin(wanted)
    }
    const { incoming } = wanted
    // The rest of one that failed.
    if (incoming === undefined) return undefined
    if (incoming.received !== piece.offset || piece.offset + piece.bytes.length > wanted.bytes)
      return this.failed(wanted, `a piece at ${piece.offset} out of order`)
    this.waitingBytes += piece.bytes.length
    incoming.push(piece.bytes)
    return this.room()
  }

  /** The link is over: nobody is kept waiting. */
  end(error: unknown): void {
    this.ended ??= error
    for (const wanted of this.wanted.values()) {
      wanted.incoming?.abort()
      wanted.settle(error)
    }
    this.wanted.clear()
    for (const go of this.roomFor.splice(0)) go()
  }

  private async isHeld({ name, hash, bytes }: FileRef): Promise<boolean> {
    if (this.wanted.has(toHex(hash)) || !isContentName(name)) return false
    const { root } = this.parts
    this.parts.found(name)
    const there = await root.head(name)
    if (there?.size !== bytes) return false
    if (this.held.has(name)) return true
    const isGood = toHex(await hashOf(root, name, bytes)) === toHex(hash)
    if (isGood) this.held.add(name)
    return isGood
  }

  private whole(wanted: Wanted, bytes: Uint8Array): Promise<void> | undefined {
    const found = toHex(sha256(bytes))
    if (found !== wanted.hash) return this.failed(wanted, `SHA-256 ${found}`)
    const { failpoints } = this.parts.world
    const store = async (): Promise<void> => {
      wanted.keep?.(bytes)
      for (const name of wanted.names) {
        await this.parts.root.put(name, bytes, failpoints.active ? { beforeName: () => beforeLink(failpoints, name) } : {})
      }
      if (wanted.keep === undefined) this.parts.done?.(bytes)
    }
    this.waitingBytes += bytes.length
    void this.stored(wanted, store()).finally(() => this.free(bytes.length))
    return this.room()
  }

  private begin(wanted: Wanted): Incoming {
    const incoming = new Incoming(
      this.parts.world,
      wanted,
      (bytes) => this.free(bytes),
      (part) => this.parts.done?.(part),
    )
    const [name] = wanted.names
    void this.stored(wanted, name === undefined || wanted.keep !== undefined ? this.collect(wanted, incoming) : this.pour(wanted, incoming, name), incoming)
    return incoming
  }

  private async pour(wanted: Wanted, incoming: Incoming, first: string): Promise<void> {
    const { root } = this.parts
    await root.putLarge(first, incoming.parts())
    for (const name of wanted.names) if (name !== first) await root.put(name, (await root.get(first)).bytes)
  }

  private async collect(wanted: Wanted, incoming: Incoming): Promise<void> {
    const bytes = new Uint8Array(wanted.bytes)
    let at = 0
    for await (const part of incoming.parts()) {
      bytes.set(part, at)
      at += part.length
    }
    wanted.keep?.(bytes)
    for (const name of wanted.names) await this.parts.root.put(name, bytes)
  }

  private async stored(wanted: Wanted, storing: Promise<void>, incoming?: Incoming): Promise<void> {
    try {
      await storing
      for (const name of wanted.names) this.held.add(name)
      this.settle(wanted)
    } catch (error) {
      // One that was begun again has failed already, or is of no interest.
      if (incoming !== undefined && wanted.incoming !== incoming) return
      if (!(error instanceof FragmentHashError)) this.end(error)
      else await this.failed(wanted, error.message)?.catch((cause: unknown) => this.end(cause))
    }
  }

  private settle(wanted: Wanted): void {
    this.wanted.delete(wanted.hash)
    wanted.settle()
  }

  /** Asked for again. */
  private failed(wanted: Wanted, why: string): Promise<void> | undefined {
    wanted.incoming?.abort()
    wanted.incoming = undefined
    const { name } = wanted.file
    if (++wanted.attempts >= ATTEMPTS_MAX) {
      const error = new FragmentHashError(`${name}: ${why}, ${wanted.attempts} times`, { details: { name, attempts: wanted.attempts } })
      this.end(error)
      return Promise.reject(error)
    }
    this.parts.ask(wanted.lsn, [wanted.file])
    return undefined
  }

  private room(): Promise<void> | undefined {
    if (this.waitingBytes <= WAITING_BYTES_MAX || this.ended !== undefined) return undefined
    return new Promise((resolve) => this.roomFor.push(resolve))
  }

  private free(bytes: number): void {
    this.waitingBytes -= bytes
    if (this.waitingBytes <= WAITING_BYTES_MAX) for (const go of this.roomFor.splice(0)) go()
  }
}

/** A file of several pieces on its way. */
class Incoming {
  received = 0
  private readonly world: Pick<World, 'failpoints'>
  private readonly wanted: Wanted
  private readonly taken: (bytes: number) => void
  private readonly done: (part: Uint8Array) => void
  private readonly queue: Uint8Array[] = []
  private wake: (() => void) | undefined
  private aborted = false

  constructor(world: Pick<World, 'failpoints'>, wanted: Wanted, taken: (bytes: number) => void, done: (part: Uint8Array) => void) {
    this.world = world
    this.wanted = wanted
    this.taken = taken
    this.done = done
  }

  push(bytes: Uint8Array): void {
    this.received += bytes.length
    this.queue.push(bytes)
    this.wake?.()
  }

  abort(): void {
    if (this.aborted) return
    this.aborted = true
    for (const part of this.queue.splice(0)) this.taken(part.length)
    this.wake?.()
  }

  /** Throws behind the last piece when the whole is not what it should be: the file never gets its name. */
  async *parts(): AsyncGenerator<Uint8Array, undefined> {
    const { bytes, hash, names } = this.wanted
    const hasher = new Sha256()
    for (let at = 0; at < bytes;) {
      if (this.aborted) throw new FragmentHashError('begun again', { details: {} })
      const part = this.queue.shift()
      if (part === undefined) {
        await new Promise<void>((resolve) => (this.wake = resolve))
        this.wake = undefined
        continue
      }
      hasher.update(part)
      yield part
      // Whoever asks for the next part has stored this one.
      at += part.length
      this.taken(part.length)
      this.done(part)
    }
    const found = toHex(hasher.digest())
    if (found !== hash) throw new FragmentHashError(`SHA-256 ${found}`, { details: {} })
    const { failpoints } = this.world
    if (failpoints.active) await beforeLink(failpoints, [...names][0])
    return undefined
  }
}

function wantedOf(file: FileRef, hash: string, lsn: number): Wanted {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // Whoever waits is told; if nobody does, nobody needs to know.
  promise.catch(() => undefined)
  return {
    file,
    hash,
    bytes: file.bytes,
    names: new Set(),
    keep: undefined,
    lsn,
    attempts: 0,
    incoming: undefined,
    there: promise,
    settle: (error) => (error === undefined ? resolve() : reject(error as Error)),
  }
}

async function hashOf(root: Root, name: string, bytes: number): Promise<Uint8Array> {
  const hash = new Sha256()
  try {
    for (let at = 0; at < bytes; at += LOOK_BYTES) hash.update((await root.get(name, { range: { start: at, end: Math.min(bytes, at + LOOK_BYTES) } })).bytes)
  } catch (error) {
    // Gone between the look and the read.
    if (!isNotFound(error)) throw error
  }
  return hash.digest()
}

function beforeLink(failpoints: Failpoints, name: string | undefined): Promise<void> {
  return failpoints.hit(FP.ship.beforeFragmentLink, { name })
}
