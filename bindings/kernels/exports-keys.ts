// kernels/exports-keys.ts: the Wasm exports for keys (XXH64, canonical bytes, key indexes, joins), as TypeScript sees them.
//
// All arguments are byte offsets or counts; what each kernel reads and writes is said in assembly/.

export interface KeyExports {
  // xxh64.ts
  xxh64(p: number, n: number, seedLo: number, seedHi: number, out: number): void
  xxh64_fixed(p: number, width: number, n: number, out: number): void
  xxh64_var(offsets: number, data: number, n: number, out: number): void
  // key-bytes.ts
  key_measure(offsets: number, codes: number, width: number, entries: number, extra: number, n: number, ends: number): void
  key_places(ends: number, cursors: number, n: number): number
  key_ints(p: number, width: number, signed: number, n: number, out: number, stride: number, cursors: number): void
  key_floats(p: number, width: number, n: number, out: number, stride: number, cursors: number): void
  key_bools(bits: number, n: number, out: number, stride: number, cursors: number): void
  key_fixed(p: number, width: number, n: number, out: number, stride: number, cursors: number): void
  key_bytes(offsets: number, data: number, codes: number, width: number, entries: number, prefix: number, n: number, out: number, cursors: number): void
  // key-index.ts
  index_sort(
    hashes: number,
    n: number,
    buckets: number,
    rowBits: number,
    tagBits: number,
    starts: number,
    entries: number,
    rows: number,
    prints: number,
  ): number
  index_starts(starts: number, buckets: number, bases: number, relative: number): void
  index_pack(entries: number, n: number, bits: number, out: number): void
  index_check(bases: number, starts: number, entries: number, buckets: number, n: number, rows: number, rowBits: number, tagBits: number, tags: number): number
  index_probe(
    bases: number,
    starts: number,
    entries: number,
    buckets: number,
    rowBits: number,
    tagBits: number,
    hashes: number,
    n: number,
    state: number,
    pairs: number,
    cap: number,
    prints: number,
  ): number
  // key-search.ts
  search_words(column: number, n: number, signed: number, keys: number, count: number, out: number): number
  // key-table.ts
  table_put(
    slots: number,
    mask: number,
    data: number,
    ends: number,
    stride: number,
    first: number,
    n: number,
    seedLo: number,
    seedHi: number,
    before: number,
  ): number
  table_find(
    slots: number,
    mask: number,
    data: number,
    ends: number,
    stride: number,
    theirs: number,
    theirEnds: number,
    n: number,
    seedLo: number,
    seedHi: number,
    out: number,
  ): number
  table_undo(
    slots: number,
    mask: number,
    data: number,
    ends: number,
    stride: number,
    first: number,
    n: number,
    seedLo: number,
    seedHi: number,
    before: number,
  ): void
  table_grow(old: number, count: number, slots: number, mask: number): void
}
