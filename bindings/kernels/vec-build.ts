// kernels/vec-build.ts: making Vecs: constructors that keep the invariants of vec.ts, empty and all-null columns.
import { assert } from '../assert.ts'
import { bitmapNone, popcount } from './bitmap.ts'
import type { Layout, Vec } from './vec.ts'

const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_CHILDREN: readonly Vec[] = []

export interface VecParts {
  readonly validity?: Uint8Array | undefined
  /** Given when known; counted otherwise. */
  readonly nullCount?: number | undefined
  readonly values?: Uint8Array | undefined
  readonly offsets?: Int32Array | undefined
  readonly children?: readonly Vec[] | undefined
  readonly dictionary?: Vec | undefined
}

/** A Vec from its buffers: counts nulls, and drops a validity bitmap without any. */
export function makeVec(layout: Layout, length: number, parts: VecParts): Vec {
  const nullCount = parts.validity === undefined ? 0 : (parts.nullCount ?? length - popcount(parts.validity, length))
  return {
    layout,
    length,
    nullCount,
    validity: nullCount === 0 ? undefined : parts.validity,
    values: parts.values ?? NO_BYTES,
    offsets: parts.offsets,
    children: parts.children ?? NO_CHILDREN,
    dictionary: parts.dictionary,
  }
}

/** A column of no rows. */
export function emptyVec(layout: Layout): Vec {
  return nullVec(layout, 0)
}

/** A column of n nulls. */
export function nullVec(layout: Layout, n: number): Vec {
  const parts = { validity: n === 0 ? undefined : bitmapNone(n), nullCount: n }
  switch (layout.kind) {
    case 'fixed':
      return makeVec(layout, n, { ...parts, values: new Uint8Array(n * layout.width) })
    case 'bool':
      return makeVec(layout, n, { ...parts, values: bitmapNone(n) })
    case 'var':
      return makeVec(layout, n, { ...parts, offsets: new Int32Array(n + 1) })
    case 'list':
      return makeVec(layout, n, { ...parts, offsets: new Int32Array(n + 1), children: [emptyVec(layout.item)] })
    case 'struct':
      return makeVec(layout, n, { ...parts, children: layout.fields.map((field) => nullVec(field, n)) })
    case 'fsl':
      return makeVec(layout, n, { ...parts, children: [nullVec(layout.item, n * layout.size)] })
    case 'dict':
      return makeVec(layout, n, { ...parts, values: new Uint8Array(n * layout.width), dictionary: emptyVec({ kind: 'var' }) })
  }
}

/** The offsets of a var or list Vec. */
export function offsetsOf(v: Vec): Int32Array {
  assert(v.offsets !== undefined, 'a var or list column has offsets', v.layout.kind)
  return v.offsets
}

/** The dictionary of a dict Vec. */
export function dictionaryOf(v: Vec): Vec {
  assert(v.dictionary !== undefined, 'a dict column has a dictionary', v.layout.kind)
  return v.dictionary
}

/** Child i of a list, struct or fsl Vec. */
export function childOf(v: Vec, i: number): Vec {
  const child = v.children[i]
  assert(child !== undefined, 'a nested column has its children', i)
  return child
}

/** Row width of the values of a fixed or dict layout. */
export function widthOf(layout: Layout): number {
  assert(layout.kind === 'fixed' || layout.kind === 'dict', 'a column of fixed width', layout.kind)
  return layout.width
}
