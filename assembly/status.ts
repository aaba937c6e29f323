// status.ts: codes that kernels return. Twins in bindings/kernels (wal.ts, lz4.ts); test/kernel compares behaviour, not numbers.

// wal_scan stop codes (kernels.md section 4)
export const STOP_END: u32 = 0
export const STOP_CAPACITY: u32 = 1
export const STOP_ZEROS: u32 = 2
export const STOP_SHORT: u32 = 3
export const STOP_LENGTH: u32 = 4
export const STOP_CHECKSUM: u32 = 5
export const STOP_SEQUENCE: u32 = 6
export const STOP_EPOCH: u32 = 7
export const STOP_PADDING: u32 = 8
export const STOP_FOOTER: u32 = 9

/** "no offset" in u32 results. */
export const NONE: u32 = 0xffffffff

// Data errors of kernels that return i32 lengths.
/** The input contradicts itself: truncated, a bound broken. */
export const BAD_DATA: i32 = -1
/** The output would pass its stated bound. */
export const BAD_ROOM: i32 = -2
