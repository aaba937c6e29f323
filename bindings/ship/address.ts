// ship/address.ts: `host:port` of an Endpoint, and which of them may be used (docs/shipping.md "Frames and transports").
//
// Invariant: an address that stands for all of a machine's is never used, neither to listen on nor to connect to: replicas say where they are.
import { InvalidEndpointError } from '../errors-ship.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

const PORT_MAX = 65_535
const WILDCARDS: ReadonlySet<string> = new Set(['', '*', '0.0.0.0', '0', '::', '::0', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0'])

/** @throws InvalidEndpointError */
export function parseAddress(text: string): Address {
  const found = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text)
  const host = found?.[1] ?? found?.[2] ?? ''
  const port = Number(found?.[3])
  if (isWildcard(text)) {
    throw new InvalidEndpointError(`endpoint ${JSON.stringify(text)} is no address of its own`, {
      details: { endpoint: text },
      hint: 'Name the address that the other side reaches it at.',
    })
  }
  if (found === null || port > PORT_MAX) throw new InvalidEndpointError(`endpoint ${JSON.stringify(text)}: host:port expected`, { details: { endpoint: text } })
  return { host, port }
}

/** Whether it names every address of a machine, or none; a name without a port counts, too. */
export function isWildcard(text: string): boolean {
  const host = /^\[([^\]]*)\](?::\d*)?$/.exec(text)?.[1] ?? (text.includes('::') ? text : text.replace(/:\d*$/, ''))
  return WILDCARDS.has(host.toLowerCase())
}

/** Whether it can only be this machine. A name is not looked up: what it stands for may change. */
export function isLoopback(host: string): boolean {
  const plain = host.toLowerCase().replace(/^::ffff:/, '')
  return plain === 'localhost' || plain === '::1' || /^127(?:\.\d{1,3}){3}$/.test(plain)
}

export function showAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
