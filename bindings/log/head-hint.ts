// log/head-hint.ts: `hints/head`: roughly where an object log ends, overwritten blindly (log.md section 4).
//
// Invariant: nothing but the number of requests depends on it; wrong, old, torn or missing it costs time.
import type { Root } from '../root/index.ts'

import { decodeSealed, encodeSealed } from './sealed-json.ts'

const NAME = 'hints/head'

export interface HeadHint {
  readonly lsn: number
  /** k of the highest floor. */
  readonly floor: number
}

export async function readHint(root: Root): Promise<HeadHint | undefined> {
  const fields = await root.get(NAME).then(
    ({ bytes }) => decodeSealed(bytes),
    () => undefined,
  )
  const { lsn, floor } = fields ?? {}
  return Number.isSafeInteger(lsn) && Number.isSafeInteger(floor) ? { lsn: lsn as number, floor: floor as number } : undefined
}

export async function writeHint(root: Root, hint: HeadHint): Promise<void> {
  await root.put(NAME, encodeSealed({ ...hint }), { sync: false }).catch(() => {})
}
