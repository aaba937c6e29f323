// staging/staging-area.ts: the files of one write, from its intent to their final names: phases A, B, promote and D (recovery.md section 2).
//
//   arm:     INTENT by put-if-absent, its directory synced              promote: each file to its content address, that directory synced
//   put:     staging/<writeId>/<sha256>.<ext>, bytes synced             retire:  files, LEASE, INTENT last, then the directory
//
// Invariant: no file of the write is there before its INTENT is durable; a name under fragments/ or indexes/ that promote() answers with is durable and holds
// exactly the staged bytes; nothing here ever deletes outside of staging/<writeId>/.
import { assert } from '../assert.ts'
import { CorruptionError, StorageError } from '../errors.ts'
import { toHex, type Intent, stagedName, type StagedExtension } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { getIfThere, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import { Lease } from './lease.ts'
import { fileKey, finalName, intentName, isPromoted, leaseName, parseStagedName, type StagedFile, stagingPrefix } from './names.ts'
import { writeIntent } from './write-intent.ts'

export type StagingWorld = Pick<World, 'clock' | 'timers' | 'random' | 'failpoints' | 'logger'>

export interface PromoteOptions {
  /** Names that vacuum may be deleting: their bytes go under the next generation. */
  readonly dead?: (name: string) => boolean
}

/** What the log says of names under fragments/ and indexes/. */
export interface NameRules {
  /** A vacuum may be deleting it, or could have been when the write was armed. */
  readonly dead: (name: string) => boolean
  /** Resolves once `dead` knows every record that is in the log now. */
  readonly confirm?: () => Promise<void>
}

/** Links of one promotion at a time. */
const LINKS_AT_ONCE = 8
/** A target that comes and goes while it is looked at (vacuum): looks before the next generation is taken. */
const LOOKS = 3
/** Generations tried in order; after that one is drawn, so that bytes stored a thousand times cost no thousand tries. */
const GENERATIONS_IN_ORDER = 4
const GENERATIONS = 2 ** 20

export class StagingArea {
  readonly writeId: string
  private readonly root: Root
  private readonly world: StagingWorld
  private readonly own = new Map<string, Promise<StagedFile>>()
  private readonly isAdopted: boolean
  private lease: Lease | undefined
  private readonly names_: NameRules | undefined

  private constructor(root: Root, world: StagingWorld, writeId: string, isAdopted: boolean, names: NameRules | undefined) {
    this.root = root
    this.world = world
    this.writeId = writeId
    this.isAdopted = isAdopted
    this.names_ = names
  }

  /**
   * Phase A: the directory and its INTENT are durable when it resolves. After an error nothing is there, or an INTENT without files that a sweep rolls back.
   *
   * @throws StorageError; `exists` when another write has this id
   */
  static async arm(root: Root, world: StagingWorld, intent: Intent, o: { readonly isLeased?: boolean; readonly names?: NameRules } = {}): Promise<StagingArea> {
    await writeIntent(root, world, intent)
    const area = new StagingArea(root, world, intent.writeId, false, o.names)
    // The lock of a local store tells whether its writer lives; where several write, only a changing object does.
    if (o.isLeased ?? !root.caps.segments) area.lease = new Lease(root, world, intent.writeId)
    return area
  }

  /** The directory of a write that was armed before: by another process, or by this one when a step of it is made again. */
  static adopt(root: Root, world: StagingWorld, writeId: string): StagingArea {
    return new StagingArea(root, world, writeId, true, undefined)
  }

  /** Phase B: one file. Its bytes are durable, its name only after sync(). Equal bytes are stored once. @param digest SHA-256, when at hand */
  put(ext: StagedExtension, bytes: Uint8Array, digest: string = toHex(sha256(bytes))): Promise<StagedFile> {
    const key = `${digest}.${ext}`
    let staged = this.own.get(key)
    if (staged === undefined) {
      staged = this.store({ digest, ext, bytes: bytes.length }, bytes)
      this.own.set(key, staged)
    }
    return staged
  }

  private async store(file: StagedFile, bytes: Uint8Array): Promise<StagedFile> {
    const { failpoints } = this.world
    const context = { writeId: this.writeId, ext: file.ext, digest: file.digest }
    if (failpoints.active) await failpoints.hit(FP.stage.beforeFile, context)
    let stored = file
    if (isPromoted(file.ext) && !this.root.caps.hardLink) stored = { ...file, gen: await this.create(file, bytes) }
    else await this.root.put(this.staged(file), bytes, { sync: 'file' })
    if (failpoints.active) await failpoints.hit(FP.stage.afterFile, context)
    return stored
  }

  /** Without hard links the staged bytes are the only copy: a name is relied on only where this very call made it. */
  private async create(file: StagedFile, bytes: Uint8Array): Promise<number> {
    for (let round = 0; ; round++) {
      const gen = round < GENERATIONS_IN_ORDER ? round : GENERATIONS_IN_ORDER + (this.world.random.u32() % GENERATIONS)
      const name = finalName(file, gen)
      if (this.names_?.dead(name) === true) continue
      try {
        const { status } = await this.root.putIfAbsent(name, bytes)
        if (status === 'created') {
          // A vacuum that this write has not heard of may have named it and be about to delete what it finds there: while the bytes are at hand, look.
          await this.names_?.confirm?.()
          if (this.names_?.dead(name) !== true) return gen
        }
      } catch (error) {
        // Whether it is there nobody knows, and somebody else's it may be: the next name.
        if (!(error instanceof StorageError && error.class === 'unknown') || round > 2 * GENERATIONS_IN_ORDER) throw error
      }
    }
  }

  /** End of phase B: the names in staging are durable. A fused write does without: nothing durable tells of them before they have their final names. */
  async sync(): Promise<void> {
    const { failpoints } = this.world
    await Promise.all(this.own.values())
    if (failpoints.active) await failpoints.hit(FP.stage.beforeSync, { writeId: this.writeId })
    if (this.root.caps.syncDir) await this.root.syncDir(stagingPrefix(this.writeId))
    if (failpoints.active) await failpoints.hit(FP.stage.afterSync, { writeId: this.writeId })
  }

  /** What is staged under the name a file has now. @throws StorageError notFound; CorruptionError for other bytes than those put */
  async read(file: StagedFile): Promise<Uint8Array> {
    const name = isPromoted(file.ext) && !this.root.caps.hardLink ? finalName(file, file.gen ?? 0) : this.staged(file)
    const { bytes } = await this.root.get(name)
    const problem = mismatch(file, bytes)
    if (problem !== undefined) throw new CorruptionError('staged.corrupt', `${name}: ${problem}`, { details: { file: name } })
    return bytes
  }

  /**
   * Gives the files their content addresses; what may have been done before is done again. `keys` and `def` files are passed over.
   *
   * @returns the generation of each by `<digest>.<ext>`
   */
  async promote(files: Iterable<StagedFile>, o: PromoteOptions = this.names_ ?? {}): Promise<ReadonlyMap<string, number>> {
    const { failpoints } = this.world
    const wanted = new Map<string, StagedFile>()
    for (const file of files) if (isPromoted(file.ext)) wanted.set(fileKey(file), file)
    if (failpoints.active) await failpoints.hit(FP.promote.before, { writeId: this.writeId })
    const gens = new Map<string, number>()
    const queue = [...wanted]
    let done = 0
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        if (done++ > 0 && failpoints.active) await failpoints.hit(FP.promote.betweenFiles, { writeId: this.writeId, file: next[0] })
        gens.set(next[0], this.root.caps.hardLink ? await this.link(next[1], o) : await this.look(next[1], o))
      }
    }
    const lanes = await Promise.allSettled(Array.from({ length: failpoints.active ? 1 : LINKS_AT_ONCE }, lane))
    for (const each of lanes) if (each.status === 'rejected') throw each.reason as Error
    if (failpoints.active) await failpoints.hit(FP.promote.after, { writeId: this.writeId })
    return gens
  }

  private async link(file: StagedFile, o: PromoteOptions): Promise<number> {
    const source = this.staged(file)
    for (let gen = file.gen ?? 0; ; gen++) {
      const target = finalName(file, gen)
      if (o.dead?.(target) === true) continue
      for (let look = 0; look < LOOKS; look++) {
        // Also where the name is taken the link call syncs its directory: an earlier promoter may have died before it did.
        const { status } = await this.root.link(source, target)
        if (status === 'created') return gen
        const there = await getIfThere(this.root, target)
        if (there === undefined) continue
        if (mismatch(file, there) === undefined) return gen
        this.world.logger.log({ level: 'warn', code: 'promote.damagedTarget', file: target, writeId: this.writeId })
        break
      }
    }
  }

  private async look(file: StagedFile, o: PromoteOptions): Promise<number> {
    const gen = file.gen ?? 0
    const name = finalName(file, gen)
    const there = await this.root.head(name)
    if (there === undefined || there.size !== file.bytes || o.dead?.(name) === true) {
      const why = there === undefined ? 'is not there' : `has ${there.size} of ${file.bytes} bytes`
      throw new StorageError(`${name}: a file of write ${this.writeId} ${why}`, {
        details: { op: 'promote', name, class: there === undefined ? 'notFound' : 'corrupt' },
      })
    }
    return gen
  }

  private staged(file: Pick<StagedFile, 'digest' | 'ext'>): string {
    return stagedName(this.writeId, fileKey(file))
  }

  /** The write is open no longer: no renewal of its lease from here on. retire() does it too. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.own.values())
    await this.lease?.stop()
  }

  /**
   * Phase D, and the roll-back of a write that no other process can have seen: files, LEASE, INTENT last.
   *
   * @returns the error that kept something here for the next sweep; it never throws
   */
  async retire(): Promise<Error | undefined> {
    const { failpoints } = this.world
    const context = { writeId: this.writeId }
    try {
      await this.settle()
      if (failpoints.active) await failpoints.hit(FP.retire.before, context)
      const names = await this.names()
      if (failpoints.active) {
        for (const [i, name] of names.entries()) {
          if (i > 0) await failpoints.hit(FP.retire.betweenFiles, { ...context, file: name })
          await this.root.delete(name, { sync: false })
        }
        await failpoints.hit(FP.retire.betweenFiles, { ...context, file: intentName(this.writeId) })
      } else if (names.length > 0) await this.root.delete(names, { sync: false })
      if (failpoints.active) await failpoints.around(FP.intent.delete, context, () => this.dropIntent())
      else await this.dropIntent()
      if (failpoints.active) await failpoints.hit(FP.retire.after, context)
      return undefined
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Everything but the INTENT. */
  private async names(): Promise<string[]> {
    const intent = intentName(this.writeId)
    const names: string[] = []
    if (this.isAdopted) {
      for await (const { name } of this.root.list(stagingPrefix(this.writeId))) if (name !== intent) names.push(name)
      return names
    }
    for (const key of this.own.keys()) {
      const dot = key.indexOf('.')
      const file = { digest: key.slice(0, dot), ext: key.slice(dot + 1) as StagedExtension }
      if (this.root.caps.hardLink || !isPromoted(file.ext)) names.push(this.staged(file))
    }
    if (this.lease?.isThere === true) names.push(leaseName(this.writeId))
    return names
  }

  /** On a root with folders the empty one goes with it, and one sync makes all of it durable. */
  private async dropIntent(): Promise<void> {
    if (this.root.caps.segments) await this.root.deletePrefix(stagingPrefix(this.writeId))
    else await this.root.delete(intentName(this.writeId))
  }

  /** The files in the directory, for a write that was adopted: lengths as stored, nothing verified. */
  async list(): Promise<StagedFile[]> {
    assert(this.isAdopted, 'the owner of a write knows its files')
    const files: StagedFile[] = []
    for await (const { name, size } of this.root.list(stagingPrefix(this.writeId))) {
      const parsed = parseStagedName(name)
      if (parsed !== undefined) files.push({ digest: parsed.digest, ext: parsed.ext, bytes: size })
    }
    return files
  }
}

function mismatch(file: StagedFile, bytes: Uint8Array): string | undefined {
  if (bytes.length !== file.bytes) return `${bytes.length} bytes instead of ${file.bytes}`
  return toHex(sha256(bytes)) === file.digest ? undefined : 'its SHA-256 is not its name'
}
