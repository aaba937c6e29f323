// engine/checkpoints.ts: writing, listing and believing `checkpoints/<lsn>.ckpt`.
//
// A checkpoint is a cache of the log: one that fails its check is passed over for an older one, and reported.

import { type Catalog, type Checkpoint, checkpointBody, checkpointName, decodeCheckpoint, encodeCheckpoint } from '../catalog/index.ts'
import { CorruptionError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { type Failpoints, FP } from '../runtime/index.ts'

const PREFIX = 'checkpoints/'

/** LSNs of the checkpoint files, newest first. */
export async function listCheckpoints(root: Root): Promise<number[]> {
  const found: number[] = []
  for await (const { name } of root.list(PREFIX)) {
    const match = /^checkpoints\/(\d{20})\.ckpt$/.exec(name)
    if (match !== null) found.push(Number(match[1]))
  }
  return found.reverse()
}

/** The newest checkpoint at or below `lsn` that holds its check; `invalid` is told of each that does not. */
export async function newestCheckpoint(
  root: Root,
  storeId: Uint8Array,
  lsn: number = Number.POSITIVE_INFINITY,
  invalid?: (file: string, cause: unknown) => void,
): Promise<Checkpoint | undefined> {
  for (const candidate of await listCheckpoints(root)) {
    if (candidate > lsn) continue
    const file = checkpointName(candidate)
    try {
      return await readCheckpoint(root, storeId, candidate)
    } catch (cause) {
      // A vacuum took it since it was listed: it was needed by nobody, so an older one is as good.
      if (isNotFound(cause)) continue
      if (!(cause instanceof CorruptionError)) throw cause
      invalid?.(file, cause)
    }
  }
  return undefined
}

/** @throws CorruptionError checkpoint.corrupt; StorageError */
export async function readCheckpoint(root: Root, storeId: Uint8Array, lsn: number): Promise<Checkpoint> {
  return (await readCheckpointFile(root, storeId, lsn)).checkpoint
}

/** As readCheckpoint, with the bytes of the file. */
export async function readCheckpointFile(
  root: Root,
  storeId: Uint8Array,
  lsn: number,
): Promise<{ readonly checkpoint: Checkpoint; readonly bytes: Uint8Array }> {
  const file = checkpointName(lsn)
  const { bytes } = await root.get(file)
  let checkpoint: Checkpoint
  try {
    checkpoint = decodeCheckpoint(bytes)
  } catch (cause) {
    throw new CorruptionError('checkpoint.corrupt', `${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { details: { file }, cause })
  }
  if (checkpoint.lsn !== lsn || toHex(checkpoint.storeId) !== toHex(storeId)) {
    throw new CorruptionError('checkpoint.corrupt', `${file}: made for LSN ${checkpoint.lsn} of store ${toHex(checkpoint.storeId)}`, { details: { file } })
  }
  return { checkpoint, bytes }
}

/** Write the catalog as it is now; the log is synced through its LSN first, so that no checkpoint is ahead of its log. Returns its LSN. */
export async function writeCheckpoint(root: Root, storeId: Uint8Array, log: CommitLog, catalog: Catalog, failpoints: Failpoints): Promise<number> {
  const { lsn } = catalog
  const body = checkpointBody(catalog)
  if (Number(log.durableHead) < lsn) await log.sync()
  const digest = await log.digestAt(BigInt(lsn) as Lsn)
  const bytes = encodeCheckpoint(storeId, lsn, digest, body)
  if (failpoints.active) {
    await failpoints.hit(FP.checkpoint.beforeWrite, { lsn })
    await root.put(checkpointName(lsn), bytes, { beforeName: () => failpoints.hit(FP.checkpoint.beforeRename, { lsn }) })
    await failpoints.hit(FP.checkpoint.afterRename, { lsn })
  } else await root.put(checkpointName(lsn), bytes)
  return lsn
}
