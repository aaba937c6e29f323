// kernels/exports-groups.ts: the Wasm exports for grouping by hashing, as TypeScript sees them.
//
// All arguments are byte offsets or counts; 0 stands for an absent bitmap, list of rows, offsets, codes or groups. What each kernel reads and writes is said in assembly/.

export interface GroupExports {
  // group-table.ts
  group_words(words: number, validity: number, rows: number, from: number, n: number, table: number, out: number): number
  group_bytes(offsets: number, data: number, width: number, validity: number, rows: number, from: number, n: number, table: number, out: number): number
  group_rehash_words(table: number): void
  group_rehash_bytes(table: number, old: number, oldMask: number): void
  group_new_codes(codes: number, width: number, validity: number, rows: number, n: number, map: number, entries: number, nulls: number, out: number): number
  group_map_codes(codes: number, numbers: number, n: number, map: number): void
  group_codes(codes: number, width: number, validity: number, n: number, map: number, entries: number, empty: number, out: number): void
  group_pairs(first: number, second: number, shift: number, n: number, out: number): void
  group_widen(p: number, kind: number, mode: number, n: number, out: number): void
  // group-sums.ts
  group_count(groups: number, rows: number, n: number, counts: number): void
  group_sum_words(words: number, signed: number, groups: number, rows: number, n: number, sums: number): void
  group_sum_128(p: number, groups: number, rows: number, n: number, sums: number): void
  group_sum_floats(words: number, groups: number, rows: number, from: number, n: number, states: number, pool: number): number
  sum_runs(words: number, n: number, state: number): void
  sum_of_runs(state: number, block: number): number
  group_float_sums(states: number, blocks: number, size: number, out: number): void
  group_least(words: number, float: number, groups: number, rows: number, n: number, best: number): void
  group_extreme_128(p: number, most: number, groups: number, rows: number, n: number, best: number): void
  group_extreme_bytes(
    offsets: number,
    data: number,
    width: number,
    codes: number,
    codeWidth: number,
    most: number,
    groups: number,
    rows: number,
    from: number,
    n: number,
    best: number,
    pool: number,
  ): number
}
