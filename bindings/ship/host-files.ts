// ship/host-files.ts: the file gate of a replica host: what is missing is asked for, what comes is hashed on its way to the root (docs/shipping.md "Replica").
//
// Invariant: a file gets its name only when its length and SHA-256 are those that were asked for; what is there already is believed when it was read and hashed: over
// this link, since the rebuild under way was begun, or, where the caller has no reason to doubt, lately (verified-files.ts). What cannot be read is not there.

import { FragmentHashError } from '../errors-ship.ts'
import { StorageError } from '../errors.ts'
import { isContentName, type Message, toHex } from '../format/index.ts'
import { Sha256, sha256 } from '../kernels/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { type Failpoints, FP, type World } from '../runtime/index.ts'
import type { FileRef } from './types.ts'
import type { VerifiedFiles } from './verified-files.ts'

type Piece = Extract<Message, { readonly type: 'fragment' }>

/** Times that one file may fail its hash. */
const ATTEMPTS_MAX = 3
/** What lies here under the names that were asked about, before any of it was read. */
export interface Looked {
  /** Not there, or of another length. */
  readonly missing: readonly FileRef[]
  /** There, and nobody has read it lately. */
  readonly unread: readonly FileRef[]
}

/** Bytes that may wait to be stored before the link is read on. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024
/** Names remembered over one link: beyond it a file that is named again is read again. */
const HELD_NAMES_MAX = 4096
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
  readonly verified: VerifiedFiles
  /** Sends a `want`. */
  readonly ask: (lsn: number, files: readonly FileRef[]) => void
  /** Told of a file that was there already, before it is looked at. */
  readonly claim: (name: string) => Promise<void>
  /** A file is gone at its source: what needs it is given up before it counts as there. @throws where that may not be */
  readonly dead: (lsn: number) => Promise<void>
  /** So much more was looked at, read or stored, in bytes; a look at one file counts as one. */
  readonly worked: (bytes: number) => void
  /** The bytes of a piece are not looked at any more. */
  readonly done?: (bytes: Uint8Array) => void
}

export class FileGate {
  private readonly parts: FileGateParts
  private readonly wanted = new Map<string, Wanted>()
  /** Names stored, or read and found good, over this link. */
  private readonly held = new Set<string>()
  /** Looks and stores under way. */
  private readonly busy = new Set<Promise<void>>()
  private waitingBytes = 0
  private roomFor: (() => void)[] = []
  private ended: unknown

  constructor(parts: FileGateParts) {
    this.parts = parts
  }

  /** Asks for what is missing; resolves when all of it is there. @param lsn  0: of a base */
  async ensure(lsn: number, files: readonly FileRef[]): Promise<void> {
    // What is on its way looks for its names there.
    if (this.held.size > HELD_NAMES_MAX && this.wanted.size === 0) this.held.clear()
    const missing = await this.missing(files)
    await Promise.all(this.request(lsn, missing, true))
  }

  /** Nothing is read. @param doubts  what was seen before this rebuild was begun counts for nothing */
  async look(files: readonly FileRef[], doubts: boolean): Promise<Looked> {
    const missing: FileRef[] = []
    const unread: FileRef[] = []
    await this.inLanes(files, async (file) => {
      const found = await this.find(file)
      if (found === undefined) missing.push(file)
      else if (!this.held.has(file.name) && !(await this.parts.verified.has(file.name, found, doubts))) unread.push(file)
    })
    return { missing, unread }
  }

  /** Those that are not there as they should be, by reading what is. */
  async missing(files: readonly FileRef[]): Promise<FileRef[]> {
    const missing: FileRef[] = []
    await this.inLanes(files, async (file) => {
      if (!(await this.isHeld(file))) missing.push(file)
    })
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
      if (keep !== undefined) wanted.keep = keep
      else if (!wanted.names.has(file.name)) {
        wanted.names.add(file.name)
        // It was there once.
        this.held.delete(file.name)
      }
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
    if (piece.dead) {
      this.stop(wanted)
      return this.parts.dead(wanted.lsn).then(() => this.settle(wanted))
    }
    if (piece.total !== wanted.bytes) return this.failed(wanted, `${piece.total} bytes, expected ${wanted.bytes}`)
    if (piece.offset === 0) {
      this.stop(wanted)
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

  /** Behind end(): resolves when nothing of it is on its way to the root any more. */
  async settled(): Promise<void> {
    while (this.busy.size > 0) await Promise.all(this.busy)
  }

  private begun(work: Promise<void>): Promise<void> {
    const over: Promise<void> = work.catch(() => undefined).then(() => void this.busy.delete(over))
    this.busy.add(over)
    return work
  }

  private async inLanes(files: readonly FileRef[], look: (file: FileRef) => Promise<void>): Promise<void> {
    const queue = files.values()
    const lane = async (): Promise<void> => {
      for (const file of queue) if (this.ended === undefined) await look(file)
    }
    await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, () => this.begun(lane())))
  }

  /** @returns its tag; undefined: it is not there with its length, or on its way */
  private async find({ name, hash, bytes }: FileRef): Promise<string | undefined> {
    if (!isContentName(name)) return undefined
    // Also one whose content is on its way under another name: it gets this one too.
    await this.parts.claim(name)
    if (this.wanted.has(toHex(hash))) return undefined
    const there = await this.parts.root.head(name)
    this.parts.worked(1)
    return there?.size === bytes ? there.tag : undefined
  }

  private async isHeld(file: FileRef): Promise<boolean> {
    const { name, hash, bytes } = file
    const tag = await this.find(file)
    if (tag === undefined) return false
    if (this.held.has(name)) return true
    if (toHex(await this.hashOf(name, bytes)) !== toHex(hash)) return false
    await this.hold(name, tag, bytes)
    return true
  }

  private async hashOf(name: string, bytes: number): Promise<Uint8Array> {
    const { root, worked } = this.parts
    const hash = new Sha256()
    try {
      for (let at = 0; at < bytes && this.ended === undefined; at += LOOK_BYTES) {
        const part = (await root.get(name, { range: { start: at, end: Math.min(bytes, at + LOOK_BYTES) } })).bytes
        hash.update(part)
        worked(part.length)
      }
    } catch (error) {
      // Gone between the look and the read, or on a part of the disk that gives nothing back: what is sent takes its place, by a rename.
      if (!isNotFound(error) && !(error instanceof StorageError && error.class === 'io')) throw error
    }
    return hash.digest()
  }

  private hold(name: string, tag: string, bytes: number): Promise<void> {
    this.held.add(name)
    return this.parts.verified.add(name, tag, bytes)
  }

  private whole(wanted: Wanted, bytes: Uint8Array): Promise<void> | undefined {
    const found = toHex(sha256(bytes))
    if (found !== wanted.hash) return this.failed(wanted, `SHA-256 ${found}`)
    const { failpoints } = this.parts.world
    const store = async (): Promise<void> => {
      wanted.keep?.(bytes)
      for (const name of wanted.names) {
        const { tag } = await this.parts.root.put(name, bytes, failpoints.active ? { beforeName: () => beforeLink(failpoints, name) } : {})
        await this.hold(name, tag, bytes.length)
      }
      if (wanted.keep === undefined) this.parts.done?.(bytes)
    }
    this.waitingBytes += bytes.length
    void this.begun(this.stored(wanted, store())).finally(() => this.free(bytes.length))
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
    const storing = name === undefined || wanted.keep !== undefined ? this.collect(wanted, incoming) : this.pour(wanted, incoming, name)
    void this.begun(this.stored(wanted, storing, incoming))
    return incoming
  }

  private async pour(wanted: Wanted, incoming: Incoming, first: string): Promise<void> {
    const { root } = this.parts
    const { tag } = await root.putLarge(first, incoming.parts())
    await this.hold(first, tag, wanted.bytes)
  }

  /** The same content under another name. */
  private async copy(wanted: Wanted, name: string): Promise<void> {
    const { root } = this.parts
    const source = [...wanted.names].find((each) => this.held.has(each))!
    const { tag } = await root.put(name, (await root.get(source)).bytes)
    await this.hold(name, tag, wanted.bytes)
  }

  private async collect(wanted: Wanted, incoming: Incoming): Promise<void> {
    const bytes = new Uint8Array(wanted.bytes)
    let at = 0
    for await (const part of incoming.parts()) {
      bytes.set(part, at)
      at += part.length
    }
    wanted.keep?.(bytes)
    for (const name of wanted.names) await this.hold(name, (await this.parts.root.put(name, bytes)).tag, bytes.length)
  }

  private async stored(wanted: Wanted, storing: Promise<void>, incoming?: Incoming): Promise<void> {
    try {
      await storing
      // Those that were asked for meanwhile.
      for (const name of wanted.names) if (!this.held.has(name)) await this.copy(wanted, name)
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

  /** What has come of it is of no use. */
  private stop(wanted: Wanted): void {
    wanted.incoming?.abort()
    wanted.incoming = undefined
  }

  /** Asked for again. */
  private failed(wanted: Wanted, why: string): Promise<void> | undefined {
    this.stop(wanted)
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
    this.parts.worked(bytes)
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

function beforeLink(failpoints: Failpoints, name: string | undefined): Promise<void> {
  return failpoints.hit(FP.ship.beforeFragmentLink, { name })
}
