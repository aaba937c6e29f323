// ship/host-base.ts: a base on its way to a replica: manifest, files, the records that its checkpoint leaves in the log, then one switch (docs/shipping.md "Replica").
//
// Files of a base have their names from their content, so they are put where they belong at once; until the switch nothing names them. What came stays for the
// next try: the manifest of a base under way is kept for as long. Invariant: nothing is switched to before every file and every record of it is durable here.

import { checkpointName, decodeCheckpoint } from '../catalog/index.ts'
import { BaseIncompleteError, BoundaryMismatchError, ManifestHashError, StoreMismatchError } from '../errors-ship.ts'
import { decodeManifest, digestInName, isContentName, type Message, STAGING_PREFIX, toHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { getIfThere, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { gap } from './host-entries.ts'
import type { FileGate } from './host-files.ts'
import type { BaseTarget, ReplicaParts } from './host-parts.ts'
import { decodeRecords } from './host-walk.ts'
import type { FileRef, Manifest } from './types.ts'

/** What a base under way is; it is kept until the base is installed, or for a day. */
export const BASE_MANIFEST_NAME: string = `${STAGING_PREFIX}base/manifest`
export const BASE_KEPT_MS: number = 24 * 3600 * 1000

type ManifestMessage = Extract<Message, { readonly type: 'manifest' }>
type Entries = Extract<Message, { readonly type: 'entries' }>

export class BaseTransfer {
  readonly manifest: Manifest
  readonly hash: Uint8Array
  private readonly parts: ReplicaParts
  private readonly target: BaseTarget
  private readonly tell: () => void
  /** That of the base, and older ones that branches begin at: they get their names with the switch. */
  private readonly checkpoints = new Map<string, Uint8Array>()
  private filesThere = false
  private next: number
  private receiving: Promise<void> = Promise.resolve()
  private told = false

  private constructor(parts: ReplicaParts, manifest: Manifest, hash: Uint8Array, target: BaseTarget, tell: () => void) {
    this.parts = parts
    this.manifest = manifest
    this.hash = hash
    this.target = target
    this.tell = tell
    this.next = manifest.logFrom + 1
  }

  /**
   * @param ask   sends a `want` of the manifest; with no files: everything is here
   * @param fail  a file that cannot be had
   * @throws ManifestHashError, StoreMismatchError, BoundaryMismatchError, CommittedTruncationError
   */
  static async begin(
    parts: ReplicaParts,
    message: ManifestMessage,
    gate: FileGate,
    ask: (files: readonly FileRef[]) => void,
    fail: (error: unknown) => void,
  ): Promise<BaseTransfer> {
    const manifest = checked(parts, message)
    const target = await parts.beginBase(manifest, message.hash)
    try {
      const transfer = new BaseTransfer(parts, manifest, message.hash, target, () => ask([]))
      await parts.root.put(BASE_MANIFEST_NAME, message.bytes)
      const missing = await gate.missing(manifest.files.filter(({ name }) => isContentName(name)))
      const checkpoints = [...manifest.files.filter(({ name }) => !isContentName(name)), manifest.checkpoint]
      const stored = gate.request(0, missing, false)
      for (const each of checkpoints) stored.push(...gate.request(0, [each], false, (bytes) => transfer.checkpoints.set(each.name, bytes)))
      ask([...missing, ...checkpoints])
      Promise.all(stored).then(() => {
        transfer.filesThere = true
        transfer.look()
      }, fail)
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
    await this.target.install(this.checkpoints)
    await this.parts.root.delete(BASE_MANIFEST_NAME)
    return baseLsn
  }

  abandon(): Promise<void> {
    return this.receiving.catch(() => undefined).then(() => this.target.abandon())
  }

  private get isWhole(): boolean {
    return this.filesThere && this.next > this.manifest.baseLsn
  }

  private look(): void {
    if (this.told || !this.isWhole) return
    this.told = true
    this.receiving.then(this.tell, () => undefined)
  }
}

function checked(parts: ReplicaParts, { hash, bytes }: ManifestMessage): Manifest {
  if (toHex(sha256(bytes)) !== toHex(hash)) throw new ManifestHashError('the manifest does not have its hash', { details: { expected: toHex(hash) } })
  const manifest = decodeManifest(bytes)
  const { storeId, baseLsn, logFrom, checkpoint, files } = manifest
  if (toHex(storeId) !== toHex(parts.storeId!))
    throw new StoreMismatchError(`the manifest is of store ${toHex(storeId)}`, { details: { storeId: toHex(storeId) } })
  const stranger = files.find(({ name, hash: digest }) => (isContentName(name) ? digestInName(name) !== toHex(digest) : !isOlderCheckpoint(name, baseLsn)))
  if (stranger !== undefined || checkpoint.name !== checkpointName(baseLsn) || logFrom > baseLsn) {
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
