// kernels/vec.ts: a column (or a child of one) as plain buffers in Arrow layout: the unit on which kernels and readers work.
//
// Buffers are owned by the JavaScript heap, never by Wasm memory: snapshots, scans and caches share them and the collector ends them
// (docs/decisions/0002). Kernels copy in, compute, copy out. All bit offsets are 0; importers normalise slices.
// Invariant: validity is undefined exactly when nullCount is 0; values under a null are unspecified but in bounds.

export type Layout =
  /** `width` bytes a row: 1, 2, 4, 8, 16 or any N (fixedSizeBinary). */
  | { readonly kind: 'fixed'; readonly width: number }
  /** Bitmap, least significant bit first. */
  | { readonly kind: 'bool' }
  /** utf8 or binary: int32 offsets + data. */
  | { readonly kind: 'var' }
  /** int32 offsets + one child. */
  | { readonly kind: 'list'; readonly item: Layout }
  | { readonly kind: 'struct'; readonly fields: readonly Layout[] }
  /** Fixed-size list: child has length * size rows. */
  | { readonly kind: 'fsl'; readonly size: number; readonly item: Layout }
  /** Unsigned codes of `width` bytes into `dictionary` (a var Vec without nulls). */
  | { readonly kind: 'dict'; readonly width: 1 | 2 | 4 }

export interface Vec {
  readonly layout: Layout
  readonly length: number
  /** Exact. */
  readonly nullCount: number
  /** Bit i set = row i valid; at least ceil(length / 8) bytes. */
  readonly validity: Uint8Array | undefined
  /** fixed: length * width bytes; bool: bitmap; dict: codes; var: data; else empty. May be longer than needed. Aligned to 8 bytes in its ArrayBuffer for fixed and dict. */
  readonly values: Uint8Array
  /** var and list: length + 1 entries, offsets[0] may be > 0. */
  readonly offsets: Int32Array | undefined
  /** list, fsl: one; struct: one per field; else none. */
  readonly children: readonly Vec[]
  readonly dictionary: Vec | undefined
}

/** How comparison, sorting and hashing read the bytes of a fixed or var Vec. */
export type ValueKind =
  | 'i8'
  | 'i16'
  | 'i32'
  | 'i64'
  | 'u8'
  | 'u16'
  | 'u32'
  | 'u64'
  | 'f32'
  | 'f64'
  /** 16-byte little-endian two's complement. */
  | 'i128'
  | 'bool'
  /** var, dict or fixed of any width: unsigned byte order. */
  | 'bytes'
