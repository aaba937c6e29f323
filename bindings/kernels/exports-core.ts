// kernels/exports-core.ts: the Wasm exports for checksums, log, bloom and LZ4, as TypeScript sees them.
//
// Arguments are byte offsets or counts unless named otherwise. u32 results arrive as signed numbers: apply `>>> 0`.

export interface CoreExports {
  readonly memory: WebAssembly.Memory
  init(): void
  /** First byte of the arena. */
  arena_base(): number

  xxh3(p: number, n: number, seedLo: number, seedHi: number, out: number): void
  xxh3_batch(pairs: number, count: number, out: number): void
  xxh3_fixed(p: number, width: number, n: number, out: number): void
  xxh3_ints(p: number, width: number, signed: number, n: number, out: number): void
  xxh3_floats(p: number, width: number, n: number, out: number): void
  xxh3_bools(bits: number, n: number, out: number): void
  xxh3_var(offsets: number, data: number, n: number, out: number): void

  crc32c(crc: number, p: number, n: number): number
  crc32c_combine(a: number, b: number, n: number): number

  sha256(state: number, p: number, blocks: number): void
  sha256_x4(state4: number, p0: number, p1: number, p2: number, p3: number, blocks: number): void
  sha256_digest(p: number, n: number, out: number): void
  sha256_batch(pairs: number, count: number, out: number): void
  record_hashes(p: number, offsets: number, count: number, out: number): void
  chain_advance(state: number, hashes: number, count: number, digestsOut: number): void

  wal_scan(p: number, n: number, firstLsn: bigint, epoch: bigint, seedPtr: number, out: number, cap: number, result: number): number
  wal_resync(p: number, n: number, seedPtr: number): number
  frame_seal(
    p: number,
    length: number,
    kind: number,
    flags: number,
    local: number,
    lsnLo: number,
    lsnHi: number,
    epochLo: number,
    epochHi: number,
    seedPtr: number,
  ): number
  frame_write(
    p: number,
    payload: number,
    length: number,
    kind: number,
    flags: number,
    local: number,
    lsnLo: number,
    lsnHi: number,
    epochLo: number,
    epochHi: number,
    seedPtr: number,
  ): number

  sbbf_insert(f: number, blocks: number, hashes: number, n: number): void
  sbbf_probe(f: number, blocks: number, hashes: number, n: number, out: number): number
  sbbf_merge(dst: number, src: number, bytes: number): void

  lz4_block_decode(src: number, n: number, dst: number, cap: number, historyStart: number): number
  lz4_block_encode(src: number, n: number, dst: number, cap: number): number
  xxh32(p: number, n: number, seed: number): number
}
