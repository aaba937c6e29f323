// index.ts: every export of the module, grouped by kernel; nothing else. Kernels take offsets and lengths, never allocate, never throw.
import { crc32c_init } from './crc32c'
import { lz4_init } from './lz4-block'

/** Builds the tables. TypeScript calls it once per instance; calling it again is harmless. */
export function init(): void {
  crc32c_init()
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
export { bits_popcount, bits_to_indices, concat_bits, fill_bits, filter_bits, take_bits } from './arrow-bits'
export { filter_8, filter_16, filter_32, filter_64, filter_128, filter_n } from './arrow-filter'
export {
  indices_check, take_8, take_16, take_32, take_64, take_128, take_n, var_offsets, var_gather,
} from './arrow-take'
export { rebase_offsets, int_convert, codes_remap, codes_to_indices, dict_intern } from './arrow-concat'
export { range_8, range_16, range_32, range_64, range_128, in_sorted, in_sorted_128, compare_bytes, in_sorted_bytes, codes_to_bits } from './predicate'
export {
  sort_keys_fixed, sort_keys_bytes, sort_keys_codes, sort_pass, sort_ties, sort_ranks, adjacent_keys, adjacent_bytes, first_descent,
  row_numbers, least_keys, rows_up_to,
} from './arrow-sort'
export { keys_behind, keys_descent, merge_keys, encode_measure, encode_keys, encode_bytes } from './arrow-merge'
export { merge_pair } from './arrow-pair'
export { inline_measure, inline_decode } from './inline-decode'
export { sum_ints, sum_floats, min_max, min_max_bytes, codes_used } from './aggregate'

// Keys: hashes for other formats, canonical bytes, indexes, joins
export { xxh64, xxh64_fixed, xxh64_var } from './xxh64'
export { key_bools, key_bytes, key_fixed, key_floats, key_ints, key_measure, key_places } from './key-bytes'
export { index_check, index_pack, index_probe, index_sort, index_starts } from './key-index'
export { search_words } from './key-search'
export { table_find, table_grow, table_put, table_undo } from './key-table'

// Grouping by hashing
export {
  group_words, group_bytes, group_rehash_words, group_rehash_bytes, group_new_codes, group_map_codes, group_codes, group_pairs, group_widen,
} from './group-table'
export {
  group_count, group_sum_words, group_sum_128, group_sum_floats, sum_runs, sum_of_runs, group_float_sums, group_least, group_extreme_128,
  group_extreme_bytes,
} from './group-sums'

// Two columns row by row
export { compare_columns, compare_byte_columns } from './compare'

// Sets of rows
export {
  bits_op, bits_and_card, bits_runs, bits_end, bits_to_ranges, ranges_to_bits, rows_to_ranges, ranges_to_rows, ranges_and, ranges_and_card, ranges_andnot,
  ranges_or, container_pack, container_unpack,
} from './row-sets'
