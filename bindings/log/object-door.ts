// log/object-door.ts: the door to logs of slots. What they are made of is loaded by the first who opens one: a store in a directory does not pay for it.

import type { Root } from '../root/index.ts'
import type { ObjectLog, ObjectLogOptions } from './open-object-log.ts'

/** As openObjectLog() of open-object-log.ts. */
export async function openObjectLog(root: Root, o: ObjectLogOptions): Promise<ObjectLog> {
  const opening = await import('./open-object-log.ts')
  return opening.openObjectLog(root, o)
}
