// index.ts: every export of the module, grouped by kernel; nothing else. Kernels take offsets and lengths, never allocate, never throw.
import { crc32c_init } from './crc32c'
import { lz4_init } from './lz4-block'
import { sha256_init } from './sha256'

/** Builds the tables. TypeScript calls it once per instance; calling it again is harmless. */
export function init(): void {
  crc32c_init()
  sha256_init()
  lz4_init()
}

// Foundation, checksums, log, bloom, LZ4
export { arena_base } from './memory'
export { crc32c, crc32c_combine } from './crc32c'
export { xxh3, xxh3_batch, xxh3_bools, xxh3_fixed, xxh3_floats, xxh3_ints, xxh3_var } from './xxh3'
export { chain_advance, record_hashes, sha256, sha256_batch, sha256_digest } from './sha256'
export { sha256_x4 } from './sha256-x4'
export { frame_seal, frame_write, wal_resync, wal_scan } from './wal-scan'
export { sbbf_insert, sbbf_merge, sbbf_probe } from './bloom'
export { lz4_block_decode, lz4_block_encode } from './lz4-block'
export { xxh32 } from './xxh32'

// Columns, predicates, sorting, inline bodies
