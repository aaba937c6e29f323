// ship/address.ts: which addresses of a machine shipping uses (docs/shipping.md "Frames and transports").
//
// Invariant: an address that stands for all of a machine's is never used, neither to listen on nor to connect to: an endpoint says where a replica is.

const WILDCARDS: ReadonlySet<string> = new Set(['', '*', '0.0.0.0', '0', '::', '::0', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0'])

/** Whether `host:port`, or a host, names every address of a machine, or none. */
export function isWildcard(text: string): boolean {
  const host = /^\[([^\]]*)\](?::\d*)?$/.exec(text)?.[1] ?? (text.includes('::') ? text : text.replace(/:\d*$/, ''))
  return WILDCARDS.has(host.toLowerCase())
}

/** Whether it can only be this machine. Other names are not looked up: what they stand for may change. */
export function isLoopback(host: string): boolean {
  const plain = host.toLowerCase().replace(/^::ffff:/, '')
  return plain === 'localhost' || plain === '::1' || /^127(?:\.\d{1,3}){3}$/.test(plain)
}
