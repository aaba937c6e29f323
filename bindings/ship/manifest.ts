// ship/manifest.ts: what names a base: the hash of its manifest's canonical bytes.

import { encodeManifest } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import type { Manifest } from './types.ts'

/** SHA-256 of the canonical bytes. */
export function manifestHash(manifest: Manifest): Uint8Array {
  return sha256(encodeManifest(manifest))
}
