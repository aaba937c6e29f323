// index.ts: every export of the module, grouped by kernel; nothing else. Kernels take offsets and lengths, never allocate, never throw.
import { crc32c_init } from './crc32c'

/** Builds the tables. TypeScript calls it once per instance; calling it again is harmless. */
export function init(): void {
  crc32c_init()
}

// Foundation, checksums, log, bloom, LZ4
export { arena_base } from './memory'
export { crc32c } from './crc32c'

// Columns, predicates, sorting, inline bodies
