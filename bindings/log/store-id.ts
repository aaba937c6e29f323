// log/store-id.ts: whose log lies in a root that has no VARVE yet: the store id of the first segment's mark.

import { FRAME_HEADER_BYTES, readMarkPayload, SEGMENT_HEADER_BYTES } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { CorruptionError } from '../errors.ts'
import { currentGeneration } from './bases.ts'
import { headOf, listSegments } from './examine.ts'

const HEAD_BYTES = 256

/** undefined: no log, or none whose first segment has a head. Not verified here: opening the log does that. */
export async function logStoreId(root: Root): Promise<Uint8Array | undefined> {
  const [first] = await listSegments(root, (await currentGeneration(root)).dir)
  if (first === undefined) return undefined
  const file = await root.segment(first.name, { open: 'read' })
  try {
    const head = new Uint8Array(HEAD_BYTES)
    if ((await file.read(0, head)) < HEAD_BYTES) return undefined
    return readMarkPayload(head, SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES).storeId.slice()
  } finally {
    await file.close()
  }
}

/** As logStoreId, believed: the id of the first segment whose head verifies with it. */
export async function verifiedStoreId(root: Root): Promise<Uint8Array | undefined> {
  for (const { name, firstLsn } of await listSegments(root, (await currentGeneration(root)).dir)) {
    const file = await root.segment(name, { open: 'read' })
    const head = new Uint8Array(HEAD_BYTES)
    let n: number
    try {
      n = await file.read(0, head)
    } finally {
      await file.close()
    }
    if (n < HEAD_BYTES) continue
    const id = readMarkPayload(head, SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES).storeId.slice()
    try {
      await headOf(root, name, firstLsn, id)
      return id
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
    }
  }
  return undefined
}
