// kernels/exports-rows.ts: the Wasm exports for sets of rows and for comparing two columns, as TypeScript sees them.
//
// Arguments are byte offsets or counts unless named otherwise. u32 results arrive as signed numbers: apply `>>> 0`.

export interface RowExports {
  // arrow-bits.ts
  /** `n` counts bits here, bytes of whole words (or any bytes, bits_op) below. */
  bits_popcount(p: number, n: number): number
  // row-sets.ts
  bits_op(op: number, a: number, b: number, n: number, out: number): void
  bits_and_card(a: number, b: number, n: number): number
  bits_runs(p: number, n: number): number
  bits_end(p: number, n: number): number
  bits_to_ranges(p: number, n: number, base: number, out: number): number
  ranges_to_bits(ranges: number, count: number, base: number, n: number, bits: number): number
  rows_to_ranges(rows: number, n: number, out: number): number
  ranges_to_rows(ranges: number, count: number, out: number): void
  ranges_and(a: number, an: number, b: number, bn: number, out: number): number
  ranges_and_card(a: number, an: number, b: number, bn: number): number
  ranges_andnot(a: number, an: number, b: number, bn: number, out: number): number
  ranges_or(a: number, an: number, b: number, bn: number, out: number): number
  container_pack(bits: number, out: number): number
  container_unpack(kind: number, count: number, data: number, bits: number): number
  // compare.ts, predicate.ts
  compare_columns(a: number, b: number, width: number, kind: number, n: number, op: number, out: number): void
  compare_byte_columns(a: number, b: number, n: number, accept: number, out: number): void
  in_sorted_128(p: number, n: number, list: number, m: number, out: number): void
}
