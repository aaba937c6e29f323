// staging/write-intent.ts: phase A: `staging/<writeId>/INTENT` by put-if-absent, file then directory synced (recovery.md section 2).
//
// Invariant: after it resolves the INTENT is ours and durable; after an error nothing of ours is there, as far as this process can see to it. Whose the INTENT is
// tells its nonce.
import { StorageError } from '../errors.ts'
import { decodeIntent, encodeIntent, fromHex, type Intent } from '../format/index.ts'
import { createOnce, isNotFound, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import { intentName, stagingPrefix } from './names.ts'

type IntentWorld = Pick<World, 'clock' | 'timers' | 'random' | 'failpoints'>

/** @throws StorageError; `exists` when another write has this id */
export async function writeIntent(root: Root, world: IntentWorld, intent: Intent): Promise<void> {
  const { failpoints } = world
  const { writeId } = intent
  const name = intentName(writeId)
  const bytes = encodeIntent(intent)
  const attempt = fromHex(intent.nonce)
  // A local root answers for good: what it says of a failed call stands, and the name tells the rest. A far one is asked until it is known.
  const create = (): Promise<'created' | 'exists'> =>
    root.caps.segments
      ? createHere(root, name, bytes, attempt)
      : createOnce(root, name, bytes, { world, attempt, attemptOf: nonceOf }).then(({ status }) => status)
  let status: 'created' | 'exists'
  try {
    status = failpoints.active ? await failpoints.around(FP.intent.write, { writeId }, create) : await create()
  } catch (error) {
    status = await readBack(root, writeId, attempt, error)
  }
  if (status === 'exists') {
    throw new StorageError(`${name}: another write has this id`, {
      details: { op: 'putIfAbsent', name, class: 'exists' },
      hint: 'Give the write another writeId.',
    })
  }
  try {
    if (failpoints.active) await failpoints.hit(FP.intent.writeAfter, { writeId })
  } catch (error) {
    await remove(root, writeId)
    throw error
  }
}

async function createHere(root: Root, name: string, bytes: Uint8Array, attempt: Uint8Array): Promise<'created' | 'exists'> {
  const { status } = await root.putIfAbsent(name, bytes, { attempt })
  return status
}

/** The answer was an error: ours may be there all the same. @throws the error, when it is not or nobody can tell */
async function readBack(root: Root, writeId: string, attempt: Uint8Array, failed: unknown): Promise<'created' | 'exists'> {
  const name = intentName(writeId)
  try {
    const found = nonceOf((await root.get(name)).bytes)
    if (found !== undefined && found.every((byte, i) => byte === attempt[i])) {
      // What failed may have been the sync of its name.
      if (root.caps.segments) await root.syncDir(stagingPrefix(writeId))
      return 'created'
    }
    return 'exists'
  } catch (error) {
    // Not there: nothing came of it. Anything else: it may be there, and goes while this process still knows that it is nobody's.
    if (!isNotFound(error)) await remove(root, writeId)
    throw failed
  }
}

async function remove(root: Root, writeId: string): Promise<void> {
  await root.deletePrefix(stagingPrefix(writeId)).catch(() => undefined) // an INTENT without files that stays is the sweep's
}

function nonceOf(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return fromHex(decodeIntent(bytes, 'INTENT').nonce)
  } catch {
    return undefined
  }
}
