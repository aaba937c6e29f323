// ship/replica-id.ts: the one maker of replica ids. Invariant: an id is opaque and stable; it is never derived from an address.

import { InvalidReplicaIdError } from '../errors-ship.ts'
import type { ReplicaId } from './types.ts'

/**
 * A text as the id of a replica: 1 to 128 bytes of letters, digits, `.`, `_`, `:` and `-`.
 *
 * @throws InvalidReplicaIdError for anything else
 * @example const id = replicaId('eu-west-1.b')
 */
export function replicaId(text: string): ReplicaId {
  if (typeof text !== 'string' || !/^[A-Za-z0-9._:-]{1,128}$/.test(text)) {
    throw new InvalidReplicaIdError(`not a replica id: ${JSON.stringify(text)?.slice(0, 160)}`, { details: { replicaId: text } })
  }
  return text as ReplicaId
}
