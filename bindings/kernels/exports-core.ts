// kernels/exports-core.ts: the Wasm exports for checksums, log, bloom and LZ4, as TypeScript sees them. All arguments are byte offsets or counts.

export interface CoreExports {
  readonly memory: WebAssembly.Memory
  init(): void
  /** First byte of the arena. */
  arena_base(): number
  crc32c(crc: number, p: number, n: number): number
}
