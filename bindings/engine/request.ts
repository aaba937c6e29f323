// engine/request.ts: the digest of a request, which tells a retry under an idempotency key from another request.

import { Sha256 } from '../kernels/index.ts'

/** SHA-256 over operation, table and the bytes that carry the data. */
export function requestDigest(op: string, tableId: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = new Sha256()
  hash.update(new TextEncoder().encode(`${op}:${tableId}:`))
  for (const part of parts) hash.update(part)
  return hash.digest()
}
