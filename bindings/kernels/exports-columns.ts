// kernels/exports-columns.ts: the Wasm exports for columns, predicates, sorting and inline bodies, as TypeScript sees them.
//
// All arguments are byte offsets or counts; 0 stands for an absent bitmap or offsets. What each kernel reads and writes is said in assembly/.

export interface ColumnExports {
  // arrow-bits.ts
  bits_to_indices(sel: number, n: number, out: number): number
  concat_bits(dst: number, dstBit: number, src: number, srcBit: number, n: number): void
  fill_bits(dst: number, dstBit: number, n: number): void
  filter_bits(src: number, sel: number, n: number, out: number): number
  take_bits(src: number, idx: number, n: number, out: number): number
  // arrow-filter.ts
  filter_8(src: number, sel: number, n: number, out: number): number
  filter_16(src: number, sel: number, n: number, out: number): number
  filter_32(src: number, sel: number, n: number, out: number): number
  filter_64(src: number, sel: number, n: number, out: number): number
  filter_128(src: number, sel: number, n: number, out: number): number
  filter_n(src: number, sel: number, n: number, width: number, out: number): number
  // arrow-take.ts
  indices_check(idx: number, n: number, limit: number, descents: number): number
  take_8(src: number, idx: number, n: number, out: number, missing: number): void
  take_16(src: number, idx: number, n: number, out: number, missing: number): void
  take_32(src: number, idx: number, n: number, out: number, missing: number): void
  take_64(src: number, idx: number, n: number, out: number, missing: number): void
  take_128(src: number, idx: number, n: number, out: number): void
  take_n(src: number, idx: number, n: number, width: number, out: number): void
  var_offsets(offsets: number, idx: number, n: number, starts: number, out: number): number
  var_gather(starts: number, offsets: number, n: number, data: number, out: number, ordered: number): void
  // arrow-concat.ts
  rebase_offsets(src: number, n: number, delta: number, out: number): void
  int_convert(src: number, from: number, to: number, signed: number, n: number, out: number): void
  codes_remap(codes: number, from: number, n: number, map: number, entries: number, to: number, out: number): void
  codes_to_indices(codes: number, width: number, validity: number, n: number, entries: number, out: number): number
  dict_intern(
    offsets: number,
    data: number,
    validity: number,
    n: number,
    table: number,
    mask: number,
    entryOffsets: number,
    entryData: number,
    count: number,
    limit: number,
    codes: number,
  ): number
  // predicate.ts
  range_8(p: number, n: number, ranges: number, count: number, out: number): void
  range_16(p: number, n: number, ranges: number, count: number, out: number): void
  range_32(p: number, n: number, ranges: number, count: number, float: number, out: number): void
  range_64(p: number, n: number, ranges: number, count: number, mode: number, out: number): void
  range_128(p: number, n: number, ranges: number, count: number, out: number): void
  in_sorted(p: number, width: number, mode: number, n: number, list: number, m: number, out: number): void
  compare_bytes(offsets: number, data: number, width: number, n: number, c: number, cn: number, accept: number, out: number): void
  in_sorted_bytes(offsets: number, data: number, width: number, n: number, listOffsets: number, listData: number, m: number, out: number): void
  codes_to_bits(codes: number, width: number, n: number, dictBits: number, entries: number, out: number): void
  // arrow-sort.ts
  sort_keys_fixed(p: number, kind: number, stride: number, n: number, desc: number, out: number): void
  sort_keys_bytes(offsets: number, p: number, stride: number, length: number, n: number, desc: number, out: number): void
  sort_keys_codes(codes: number, width: number, n: number, ranks: number, entries: number, desc: number, out: number): void
  sort_pass(keys: number, validity: number, perm: number, n: number, out: number, work: number): number
  sort_ties(offsets: number, data: number, sortedKeys: number, m: number, idx: number, tmp: number, desc: number): void
  sort_ranks(offsets: number, data: number, idx: number, n: number, ranks: number): void
  adjacent_keys(keys: number, validity: number, n: number, signs: number): void
  adjacent_bytes(offsets: number, data: number, validity: number, n: number, signs: number): void
  first_descent(signs: number, n: number, strict: number): number
  row_numbers(out: number, first: number, n: number): void
  least_keys(keys: number, validity: number, n: number, count: number, heap: number): number
  rows_up_to(keys: number, validity: number, n: number, limit: number, out: number): number
  // arrow-merge.ts
  keys_descent(keys: number, n: number): number
  keys_behind(offsets: number, data: number, like: number, shared: number, n: number, keys: number): number
  /** offsets 0 = keys alone decide. */
  merge_keys(
    offsets: number,
    data: number,
    shared: number,
    ak: number,
    ai: number,
    an: number,
    bk: number,
    bi: number,
    bn: number,
    ok: number,
    oi: number,
  ): void
  encode_measure(offsets: number, data: number, validity: number, n: number, lengths: number): void
  encode_keys(keys: number, validity: number, n: number, cursors: number, base: number): void
  encode_bytes(offsets: number, data: number, validity: number, n: number, cursors: number, base: number): void
  // arrow-pair.ts
  /** ties 0 = none wanted. */
  merge_pair(keys: number, a: number, an: number, b: number, bn: number, out: number, ties: number): void
  // inline-decode.ts
  inline_measure(bytes: number, length: number, starts: number, ends: number, counts: number, bodies: number, nodes: number, nodeCount: number): number
  inline_decode(bytes: number, length: number, starts: number, ends: number, counts: number, bodies: number, nodes: number, nodeCount: number): number
  // aggregate.ts
  sum_ints(p: number, kind: number, mask: number, n: number, out: number): void
  sum_floats(p: number, float32: number, mask: number, n: number): number
  min_max(p: number, kind: number, mask: number, n: number, out: number): number
  min_max_bytes(offsets: number, data: number, width: number, mask: number, n: number, out: number): number
  codes_used(codes: number, width: number, mask: number, n: number, entries: number, bits: number): void
}
