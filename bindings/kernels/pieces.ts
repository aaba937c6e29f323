// kernels/pieces.ts: cutting columns into pieces that go through kernel memory one at a time.
//
// A piece stays in the second-level cache between the copy in, the kernel and the copy out, and keeps the arena small whatever the column's size.
// Invariant: pieces begin at multiples of 64 rows, so that their bitmaps begin at whole words.

const PIECE_BYTES = 128 << 10

/** Rows per piece of fixed width. */
export function pieceRows(width: number): number {
  return Math.max(64, Math.floor(PIECE_BYTES / Math.max(1, width) / 64) * 64)
}

/** The end of the piece of var rows that begins at `first`: as many rows as have PIECE_BYTES of data together, 64 at least. */
export function pieceEnd(offsets: Int32Array, first: number, n: number): number {
  let rows = PIECE_BYTES / 8
  while (rows > 64 && offsets[Math.min(n, first + rows)]! - offsets[first]! > PIECE_BYTES) rows >>>= 1
  return Math.min(n, first + rows)
}
