// kernels/exports-keys.ts: the Wasm exports for keys (XXH64, canonical bytes, key indexes, joins), as TypeScript sees them.
//
// All arguments are byte offsets or counts; what each kernel reads and writes is said in assembly/.

export interface KeyExports {
  // xxh64.ts
  xxh64(p: number, n: number, seedLo: number, seedHi: number, out: number): void
  xxh64_fixed(p: number, width: number, n: number, out: number): void
  xxh64_var(offsets: number, data: number, n: number, out: number): void
}
