// engine/given-up.ts: whether records that are missing in a log are history that a vacuum gave up.
//
// Invariant: it is said only where a checkpoint that verifies replays none of them and names no tag or branch of an older version, and that checkpoint, or a record
// behind it, says that older versions are not kept. Else what is missing is damage.
import { frameKind } from '../format/index.ts'
import { type Lsn, readSurveyed, surveyLog } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import { newestCheckpoint } from './checkpoints.ts'
import { decodeRecord, KIND_VACUUM } from './state.ts'

/** Whether no state that can be had needs a record at or below an LSN: what the open of a log asks where some are missing. @throws StorageError */
export function givenUpOf(root: Root, world: World, storeId: Uint8Array): (lsn: number) => Promise<boolean> {
  return (lsn) => isGivenUp(root, world, storeId, lsn)
}

/** @cost reads the log behind the newest checkpoint */
async function isGivenUp(root: Root, world: World, storeId: Uint8Array, lsn: number): Promise<boolean> {
  const checkpoint = await newestCheckpoint(root, storeId)
  if (checkpoint === undefined || checkpoint.catalog.replayFrom < lsn) return false
  const { branches, fragmentFloor } = checkpoint.catalog
  const tags = branches.tags()
  const forks = [...branches.live().map(({ id }) => id), ...tags.map(({ branch }) => branch)].map((id) => branches.path(id)[0]!.upto)
  if ([...tags.map((tag) => tag.lsn), ...forks].some((version) => version < lsn)) return false
  let floor = fragmentFloor
  if (floor >= lsn) return true
  const log = readSurveyed(root, world, storeId, await surveyLog(root, storeId, { above: checkpoint.lsn }))
  for await (const batch of log.read(BigInt(checkpoint.lsn) as Lsn)) {
    for (const [i, offset] of batch.offsets.entries()) {
      if (frameKind(batch.bytes, offset) !== KIND_VACUUM) continue
      const record = decodeRecord(batch.bytes, offset, Number(batch.first) + i)
      if (record.kind === KIND_VACUUM) floor = Math.max(floor, record.vacuum.floor)
    }
  }
  return floor >= lsn
}
