// ship/host-base.ts: a base on its way to a replica: manifest, files, the records that its checkpoint leaves in the log, then one switch (docs/shipping.md "Replica").
//
// Files of a base have their names from their content, so they are put where they belong at once; until the switch nothing names them. What came stays for the
// next try: the manifest of a base under way is kept for as long. Invariant: nothing is switched to before every file and every record of it is durable here.

import { checkpointName, decodeCheckpoint } from '../catalog/index.ts'
import { BaseIncompleteError, BoundaryMismatchError, ManifestHashError, StoreMismatchError } from '../errors-ship.ts'
import { DecodeError, decodeManifest, isContentName, type Message, STAGING_PREFIX, toHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { getIfThere, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { gap } from './host-entries.ts'
import type { FileGate } from './host-files.ts'
import type { BaseTarget, ReplicaParts } from './host-parts.ts'
import { decodeRecords } from './host-walk.ts'
import type { FileRef, Manifest } from './types.ts'

/** What a base under way is; it is kept until the base is installed or records of the log are granted again, or for a day. */
export const BASE_MANIFEST_NAME: string = `${STAGING_PREFIX}base/manifest`
export const BASE_KEPT_MS: number = 24 * 3600 * 1000

type ManifestMessage = Extract<Message, { readonly type: 'manifest' }>
type Entries = Extract<Message, { readonly type: 'entries' }>

/** What a base asks of its link. */
export interface BaseWire {
  /** Sends a `want` of the manifest; with no files: everything is here. */
  readonly ask: (files: readonly FileRef[]) => void
  /** A file cannot be had. */
  readonly fail: (error: unknown) => void
  /** So much more was done, in bytes about. */
  readonly worked: (bytes: number) => void
}

export class BaseTransfer {
  readonly manifest: Manifest
  readonly hash: Uint8Array
  private readonly parts: ReplicaParts
  private readonly target: BaseTarget
  private readonly wire: BaseWire
  /** That of the base, and older ones that branches begin at: they get their names with the switch. */
  private readonly checkpoints = new Map<string, Uint8Array>()
  private filesThere = false
  private next: number
  private receiving: Promise<void> = Promise.resolve()
  private told = false
  private isOver = false

  private constructor(parts: ReplicaParts, manifest: Manifest, hash: Uint8Array, target: BaseTarget, wire: BaseWire) {
    this.parts = parts
    this.manifest = manifest
    this.hash = hash
    this.target = target
    this.wire = wire
    this.next = manifest.logFrom + 1
  }

  /** @throws ManifestHashError, StoreMismatchError, BoundaryMismatchError, CommittedTruncationError */
  static async begin(parts: ReplicaParts, message: ManifestMessage, gate: FileGate, wire: BaseWire): Promise<BaseTransfer> {
    const manifest = checked(parts, message)
    const target = await parts.beginBase(manifest, message.hash)
    try {
      const transfer = new BaseTransfer(parts, manifest, message.hash, target, wire)
      await parts.root.put(BASE_MANIFEST_NAME, message.bytes)
      const { missing, unread } = await gate.look(
        manifest.files.filter(({ name }) => isContentName(name)),
        target.doubts,
      )
      const checkpoints = [...manifest.files.filter(({ name }) => !isContentName(name)), manifest.checkpoint]
      const stored = gate.request(0, missing, false)
      for (const each of checkpoints) stored.push(...gate.request(0, [each], false, (bytes) => transfer.checkpoints.set(each.name, bytes)))
      wire.ask([...missing, ...checkpoints])
      // While those come, what is here is read; of which no byte counts before it was.
      stored.push(gate.ensure(0, unread))
      Promise.all(stored).then(() => {
        transfer.filesThere = true
        transfer.look()
      }, wire.fail)
      return transfer
    } catch (error) {
      await target.abandon()
      throw error
    }
  }

  /** Records above `logFrom`. @throws GapError, EntryChecksumError, ChainDigestError */
  async take(message: Entries): Promise<void> {
    const { first, count, bytes, digest } = message
    if (first !== this.next) throw gap(this.next, first)
    if (first + count - 1 > this.manifest.baseLsn) throw gap(this.manifest.baseLsn, first + count - 1)
    const { offsets, records } = decodeRecords(bytes, first, count)
    this.next += count
    this.receiving = this.receiving.then(() => this.target.receive({ first, last: first + count - 1, bytes, offsets, digest, records }))
    await this.receiving
    this.wire.worked(bytes.length)
    this.look()
  }

  /** @throws ManifestHashError, BaseIncompleteError, BoundaryMismatchError, CommittedTruncationError */
  async install(manifestHash: Uint8Array): Promise<number> {
    const { baseLsn, digest } = this.manifest
    if (toHex(manifestHash) !== toHex(this.hash))
      throw new ManifestHashError('install: another manifest is under way', { details: { baseLsn: BigInt(baseLsn) } })
    if (!this.isWhole) {
      const what = this.filesThere ? `records from ${this.next} on` : 'files'
      throw new BaseIncompleteError(`the base at ${baseLsn} is not whole: ${what} are missing`, { details: { baseLsn: BigInt(baseLsn) } })
    }
    const found = decodeCheckpoint(this.checkpoints.get(checkpointName(baseLsn))!)
    if (found.lsn !== baseLsn || toHex(found.digest) !== toHex(digest) || toHex(found.storeId) !== toHex(this.manifest.storeId)) {
      throw new BoundaryMismatchError(`the checkpoint of the base at ${baseLsn} was made for LSN ${found.lsn}`, { details: { baseLsn: BigInt(baseLsn) } })
    }
    await this.target.install(this.checkpoints, this.wire.worked)
    await this.parts.root.delete(BASE_MANIFEST_NAME)
    return baseLsn
  }

  abandon(): Promise<void> {
    this.isOver = true
    return this.receiving.catch(() => undefined).then(() => this.target.abandon())
  }

  private get isWhole(): boolean {
    return this.filesThere && this.next > this.manifest.baseLsn
  }

  private look(): void {
    if (this.told || this.isOver || !this.isWhole) return
    this.told = true
    this.receiving.then(
      () => this.wire.ask([]),
      () => undefined,
    )
  }
}

/** Bytes that have their hash, and are none that a primary would have made, are no manifest either. */
function decoded(bytes: Uint8Array, hash: Uint8Array): Manifest {
  try {
    return decodeManifest(bytes)
  } catch (cause) {
    if (!(cause instanceof DecodeError)) throw cause
    throw new ManifestHashError(`what came is no manifest: ${cause.message}`, { details: { expected: toHex(hash) }, cause })
  }
}

function checked(parts: ReplicaParts, { hash, bytes }: ManifestMessage): Manifest {
  if (toHex(sha256(bytes)) !== toHex(hash)) throw new ManifestHashError('the manifest does not have its hash', { details: { expected: toHex(hash) } })
  const manifest = decoded(bytes, hash)
  const { storeId, baseLsn, checkpoint, files } = manifest
  if (toHex(storeId) !== toHex(parts.storeId!))
    throw new StoreMismatchError(`the manifest is of store ${toHex(storeId)}`, { details: { storeId: toHex(storeId) } })
  const stranger = files.find(({ name }) => !isContentName(name) && !isOlderCheckpoint(name, baseLsn))
  if (stranger !== undefined || checkpoint.name !== checkpointName(baseLsn)) {
    throw new BoundaryMismatchError(`the manifest of the base at ${baseLsn} contradicts itself: ${stranger?.name ?? checkpoint.name}`, {
      details: { baseLsn: BigInt(baseLsn), name: stranger?.name ?? checkpoint.name },
    })
  }
  return manifest
}

function isOlderCheckpoint(name: string, baseLsn: number): boolean {
  const lsn = Number(/^checkpoints\/(\d{20})\.ckpt$/.exec(name)?.[1] ?? Infinity)
  return lsn < baseLsn
}

/** Nobody goes on with it. Its files stay where they are: the next base reads and counts them. */
export async function endBase(root: Root): Promise<void> {
  await root.delete(BASE_MANIFEST_NAME)
}

/** Hash of the manifest of a base whose files are kept for the next try; what is older than a day is let go. */
export async function baseUnderWay(root: Root, world: Pick<World, 'clock'>): Promise<Uint8Array | undefined> {
  const bytes = await getIfThere(root, BASE_MANIFEST_NAME)
  if (bytes === undefined) return undefined
  for await (const { timeMs } of root.list(BASE_MANIFEST_NAME)) {
    if (timeMs === undefined || world.clock.nowMs() - timeMs <= BASE_KEPT_MS) return sha256(bytes)
  }
  await root.delete(BASE_MANIFEST_NAME)
  return undefined
}
