// ship/tcp-auth.ts: two sides show each other that they know one key, before anything else is said (docs/shipping.md "Frames and transports").
//
//   client -> challenge(nc)   server -> challenge(ns)   client -> proof(MAC("client", nc, ns))   server -> proof(MAC("server", nc, ns))
//
// MAC = HMAC-SHA-256 (RFC 2104) under the key. Invariant: a proof is bound to both nonces and to the side that gives it, so that neither an old one nor the
// other side's own is worth anything; the server proves nothing to a client that has not. The key never leaves the process.
import { InvalidConfigError } from '../errors.ts'
import { AuthError, TransportError } from '../errors-ship.ts'
import { parseHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { UNANSWERED_HINT } from './error-frame.ts'
import type { Link, WireFrame } from './types.ts'

export type Side = 'client' | 'server'

const KEY_BYTES = 32
const NONCE_BYTES = 32
const BLOCK_BYTES = 64
const LABEL: Readonly<Record<Side, Uint8Array>> = {
  client: new TextEncoder().encode('varve ship 1 client'),
  server: new TextEncoder().encode('varve ship 1 server'),
}

/** @throws InvalidConfigError, which does not show it */
export function keyBytes(key: Uint8Array | string): Uint8Array {
  const bytes = typeof key === 'string' ? parseHex(key.toLowerCase(), KEY_BYTES) : key
  if (bytes instanceof Uint8Array && bytes.length === KEY_BYTES) return bytes.slice()
  throw new InvalidConfigError(`key: ${KEY_BYTES} bytes, or ${2 * KEY_BYTES} hex digits, expected`, { details: { key: 'key', value: typeof key } })
}

/** Settles once both sides have proved themselves; `trust()` is called once the other one has. @throws AuthError; what broke the link */
export async function authenticate(
  link: Pick<Link, 'send' | 'peer'> & { trust(): void },
  frames: AsyncIterator<WireFrame>,
  side: Side,
  key: Uint8Array,
  nonce: Uint8Array,
): Promise<void> {
  await link.send(framed({ type: 'challenge', nonce }))
  const theirs = await expected(link.peer, frames, 'challenge')
  // Our own nonce come back: whoever only mirrors could make us prove both sides.
  if (isEqual(theirs.nonce, nonce)) throw refusal(link.peer)
  const [nc, ns] = side === 'client' ? [nonce, theirs.nonce] : [theirs.nonce, nonce]
  const prove = (): Promise<void> => link.send(framed({ type: 'proof', mac: proofOf(side, key, nc, ns) }))
  if (side === 'client') await prove()
  const { mac } = await expected(link.peer, frames, 'proof')
  if (!isEqual(mac, proofOf(side === 'client' ? 'server' : 'client', key, nc, ns))) throw refusal(link.peer)
  // Before the own proof leaves: behind it anything may come.
  link.trust()
  if (side === 'server') await prove()
}

function proofOf(side: Side, key: Uint8Array, nc: Uint8Array, ns: Uint8Array): Uint8Array {
  const label = LABEL[side]
  const message = new Uint8Array(label.length + 2 * NONCE_BYTES)
  message.set(label)
  message.set(nc, label.length)
  message.set(ns, label.length + NONCE_BYTES)
  return hmacSha256(key, message)
}

/** HMAC-SHA-256 (RFC 2104) under a key of at most 64 bytes. */
export function hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array {
  const inner = new Uint8Array(BLOCK_BYTES + message.length).fill(0x36, 0, BLOCK_BYTES)
  const outer = new Uint8Array(BLOCK_BYTES + 32).fill(0x5c, 0, BLOCK_BYTES)
  for (let i = 0; i < key.length; i++) {
    inner[i]! ^= key[i]!
    outer[i]! ^= key[i]!
  }
  inner.set(message, BLOCK_BYTES)
  outer.set(sha256(inner), BLOCK_BYTES)
  return sha256(outer)
}

type AuthMessage = Extract<WireFrame['message'], { readonly type: 'challenge' | 'proof' }>

async function expected<T extends AuthMessage['type']>(
  peer: string,
  frames: AsyncIterator<WireFrame>,
  type: T,
): Promise<Extract<AuthMessage, { readonly type: T }>> {
  const { value, done } = await frames.next()
  if (done === true) throw new TransportError(`${peer} hung up before it proved that it knows the key`, { details: { peer }, hint: UNANSWERED_HINT })
  const { message } = value
  if (message.type !== type) throw refusal(peer)
  return message as Extract<AuthMessage, { readonly type: T }>
}

function framed(message: AuthMessage): WireFrame {
  return { epoch: 0, session: 0, message }
}

/** As long for a wrong first byte as for a wrong last one. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!
  return difference === 0
}

function refusal(peer: string): AuthError {
  return new AuthError(`${peer} does not know the shared key`, { details: { peer } })
}
