// ship/endpoint.ts: where a replica is: checked copies, addresses, and which of two endpoints is the newer one.
//
// Invariant: the version alone orders endpoints. One version never stands for two addresses.

import { InvalidEndpointError, StaleEndpointError } from '../errors-ship.ts'
import type { Endpoint, ReplicaId } from './types.ts'

/** A frozen copy. @throws InvalidEndpointError: no address, or a version that is no positive integer */
export function checkedEndpoint(endpoint: Endpoint): Endpoint {
  const { data, control, version } = endpoint
  for (const address of [data, control ?? data]) {
    if (typeof address !== 'string' || address === '' || address.length > 1024) {
      throw new InvalidEndpointError(`an endpoint needs an address, not ${JSON.stringify(address)}`, { details: { data, control } })
    }
  }
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new InvalidEndpointError(`the version of endpoint ${data} is ${version}, not a positive integer`, { details: { data, version } })
  }
  return Object.freeze(control === undefined ? { data, version } : { data, control, version })
}

/** Whether `next` differs from what is held. @throws StaleEndpointError when it is older, or another one of the same version */
export function isNewerEndpoint(replicaId: ReplicaId, held: Endpoint, next: Endpoint): boolean {
  if (next.version > held.version) return true
  const same = next.version === held.version && next.data === held.data && next.control === held.control
  if (same) return false
  const what = next.version < held.version ? `older than version ${held.version}` : `another address than ${held.data} of that version`
  throw new StaleEndpointError(`endpoint ${next.data} version ${next.version} of replica ${replicaId} is ${what}`, {
    details: { replicaId, held: held.version, seen: next.version },
  })
}

/** `host:port` or `[v6]:port` taken apart. @throws InvalidEndpointError */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw new InvalidEndpointError(`not host:port: ${JSON.stringify(address)}`, { details: { address } })
  return { host: (match[1] ?? match[2])!, port }
}
