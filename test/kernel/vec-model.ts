// test/kernel/vec-model.ts: columns as plain arrays of rows, both ways: the oracle of every column kernel.
//
// A row is null, a boolean, a hex string (fixed, var, dict) or an array of rows (list, struct, fsl). Built columns carry what kernels must not trust:
// offsets that start above 0, junk behind the last bit, junk values under nulls, buffers longer than needed.
import fc from 'fast-check'
import type { Layout, Vec } from '../../bindings/kernels/index.ts'

export type Row = null | boolean | string | readonly Row[]

/** A seeded source of numbers (mulberry32). */
export function randomOf(seed: number): { u32(): number; below(n: number): number; chance(p: number): boolean } {
  let a = seed >>> 0
  const u32 = (): number => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = a
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  return { u32, below: (n) => u32() % n, chance: (p) => u32() < p * 2 ** 32 }
}

type Random = ReturnType<typeof randomOf>

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

export function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

/** Row i of a column. */
export function rowAt(v: Vec, i: number): Row {
  if (v.validity !== undefined && ((v.validity[i >>> 3]! >>> (i & 7)) & 1) === 0) return null
  switch (v.layout.kind) {
    case 'fixed':
      return hexOf(v.values.subarray(i * v.layout.width, (i + 1) * v.layout.width))
    case 'bool':
      return ((v.values[i >>> 3]! >>> (i & 7)) & 1) === 1
    case 'var':
      return hexOf(v.values.subarray(v.offsets![i]!, v.offsets![i + 1]!))
    case 'list':
      return range(v.children[0]!, v.offsets![i]!, v.offsets![i + 1]!)
    case 'struct':
      return v.children.map((child) => rowAt(child, i))
    case 'fsl':
      return range(v.children[0]!, i * v.layout.size, (i + 1) * v.layout.size)
    case 'dict': {
      let code = 0
      for (let b = v.layout.width - 1; b >= 0; b--) code = code * 256 + v.values[i * v.layout.width + b]!
      return rowAt(v.dictionary!, code)
    }
  }
}

function range(v: Vec, start: number, end: number): Row[] {
  const rows: Row[] = []
  for (let i = start; i < end; i++) rows.push(rowAt(v, i))
  return rows
}

export function rowsOf(v: Vec): Row[] {
  return range(v, 0, v.length)
}

/** Throws when a column breaks what vec.ts promises. */
export function checkVec(v: Vec): Vec {
  const fail = (what: string): never => {
    throw new Error(`${v.layout.kind} column of ${v.length}: ${what}`)
  }
  if ((v.validity === undefined) !== (v.nullCount === 0)) fail(`validity and nullCount ${v.nullCount} disagree`)
  if (v.validity !== undefined) {
    let nulls = 0
    for (let i = 0; i < v.length; i++) if (((v.validity[i >>> 3]! >>> (i & 7)) & 1) === 0) nulls++
    if (nulls !== v.nullCount) fail(`nullCount ${v.nullCount}, counted ${nulls}`)
  }
  if (v.layout.kind === 'fixed' || v.layout.kind === 'dict') {
    if (v.values.byteLength < v.length * v.layout.width) fail('values are short')
    if (v.values.byteOffset % 8 !== 0) fail('values are not aligned')
  }
  if (v.layout.kind === 'bool' && v.values.byteLength < Math.ceil(v.length / 8)) fail('bits are short')
  if (v.layout.kind === 'var' || v.layout.kind === 'list') {
    if (v.offsets === undefined || v.offsets.length < v.length + 1) fail('offsets are short')
    for (let i = 0; i < v.length; i++) if (v.offsets![i]! > v.offsets![i + 1]!) fail(`offsets fall at ${i}`)
    const limit = v.layout.kind === 'var' ? v.values.byteLength : v.children[0]!.length
    if (v.offsets![v.length]! > limit || v.offsets![0]! < 0) fail('offsets leave the values')
  }
  if (v.layout.kind === 'struct') for (const child of v.children) if (child.length !== v.length) fail('a field has another length')
  if (v.layout.kind === 'fsl' && v.children[0]!.length < v.length * v.layout.size) fail('the item column is short')
  if (v.layout.kind === 'dict') {
    if (v.dictionary === undefined || v.dictionary.layout.kind !== 'var' || v.dictionary.nullCount > 0) fail('the dictionary is no plain var column')
    checkVec(v.dictionary!)
  }
  for (const child of v.children) checkVec(child)
  return v
}

/** A column from rows, with junk where junk is allowed. `seed` decides the junk. */
export function vecOf(layout: Layout, rows: readonly Row[], seed = 1): Vec {
  const random = randomOf(seed)
  const n = rows.length
  const nullCount = rows.filter((row) => row === null).length
  const spareBits = random.below(2) * 8
  const bits = (set: (i: number) => boolean): Uint8Array => {
    const out = new Uint8Array(Math.ceil(n / 8) + spareBits)
    for (let i = 0; i < out.length; i++) out[i] = random.u32()
    for (let i = 0; i < n; i++) {
      if (set(i)) out[i >>> 3]! |= 1 << (i & 7)
      else out[i >>> 3]! &= ~(1 << (i & 7))
    }
    return out
  }
  const base = {
    layout,
    length: n,
    nullCount,
    validity: nullCount === 0 ? undefined : bits((i) => rows[i] !== null),
    values: new Uint8Array(0),
    offsets: undefined,
    children: [],
    dictionary: undefined,
  }
  const nested = (i: number): readonly Row[] => rows[i] as readonly Row[]
  switch (layout.kind) {
    case 'fixed': {
      const values = new Uint8Array(n * layout.width + random.below(2) * 8)
      for (let i = 0; i < values.length; i++) values[i] = random.u32()
      rows.forEach((row, i) => row !== null && values.set(bytesOf(row as string), i * layout.width))
      return { ...base, values }
    }
    case 'bool':
      return { ...base, values: bits((i) => (rows[i] === null ? random.chance(0.5) : (rows[i] as boolean))) }
    case 'var': {
      const lead = random.below(3)
      const parts = rows.map((row) => (row === null ? new Uint8Array(random.below(3)).fill(0xee) : bytesOf(row as string)))
      const offsets = new Int32Array(n + 1)
      offsets[0] = lead
      parts.forEach((part, i) => (offsets[i + 1] = offsets[i]! + part.length))
      const values = new Uint8Array(offsets[n]! + random.below(3)).fill(0xdd)
      parts.forEach((part, i) => values.set(part, offsets[i]))
      return { ...base, values, offsets }
    }
    case 'list': {
      const junk = (): Row[] => rowsFor(layout.item, random.below(3), 0.3, random)
      const lead = junk()
      const parts = rows.map((_, i) => (rows[i] === null ? junk() : nested(i)))
      const offsets = new Int32Array(n + 1)
      offsets[0] = lead.length
      parts.forEach((part, i) => (offsets[i + 1] = offsets[i]! + part.length))
      return { ...base, offsets, children: [vecOf(layout.item, [...lead, ...parts.flat(), ...junk()], random.u32())] }
    }
    case 'struct': {
      const children = layout.fields.map((field, f) => {
        const cells = rows.map((row, i) => (row === null ? rowsFor(field, 1, 0.5, random)[0]! : nested(i)[f]!))
        return vecOf(field, cells, random.u32())
      })
      return { ...base, children }
    }
    case 'fsl': {
      const items = rows.flatMap((row, i) => (row === null ? rowsFor(layout.item, layout.size, 0.3, random) : nested(i)))
      return { ...base, children: [vecOf(layout.item, items, random.u32())] }
    }
    case 'dict': {
      const distinct = [...new Set(rows.filter((row) => row !== null) as string[]), 'abcdef']
      const dictionary = vecOf({ kind: 'var' }, distinct, random.u32())
      const values = new Uint8Array(n * layout.width)
      const view = new DataView(values.buffer)
      const codes = new Map(distinct.map((row, i) => [row, i]))
      rows.forEach((row, i) => {
        const code = row === null ? 0 : codes.get(row as string)!
        if (layout.width === 1) view.setUint8(i, code)
        else if (layout.width === 2) view.setUint16(i * 2, code, true)
        else view.setUint32(i * 4, code, true)
      })
      return { ...base, values, dictionary }
    }
  }
}

/** Random rows of a layout. */
export function rowsFor(layout: Layout, n: number, nulls: number, random: Random): Row[] {
  const rows: Row[] = []
  for (let i = 0; i < n; i++) rows.push(random.chance(nulls) ? null : rowFor(layout, nulls, random))
  return rows
}

function rowFor(layout: Layout, nulls: number, random: Random): Row {
  const bytes = (n: number): string => {
    let hex = ''
    for (let i = 0; i < n; i++) hex += (random.chance(0.2) ? random.below(3) : random.below(256)).toString(16).padStart(2, '0')
    return hex
  }
  switch (layout.kind) {
    case 'fixed':
      return bytes(layout.width)
    case 'bool':
      return random.chance(0.5)
    case 'var':
      return bytes(random.chance(0.05) ? random.below(100) : random.below(20))
    case 'dict':
      return bytes(random.below(3)).replaceAll(/[2-9a-f]/g, '0')
    case 'list':
      return rowsFor(layout.item, random.below(5), nulls, random)
    case 'struct':
      return layout.fields.map((field) => rowsFor(field, 1, nulls, random)[0]!)
    case 'fsl':
      return rowsFor(layout.item, layout.size, nulls, random)
  }
}

const leaf: fc.Arbitrary<Layout> = fc.oneof(
  fc.constantFrom(1, 2, 4, 8, 16, 3, 5, 12, 20).map((width) => ({ kind: 'fixed', width }) as const),
  fc.constant({ kind: 'bool' } as const),
  fc.constant({ kind: 'var' } as const),
  fc.constantFrom(1 as const, 2 as const, 4 as const).map((width) => ({ kind: 'dict', width }) as const),
)

/** Layouts nested up to three deep. */
export const layouts: fc.Arbitrary<Layout> = fc.letrec<{ layout: Layout }>((tie) => ({
  layout: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    leaf,
    tie('layout').map((item) => ({ kind: 'list', item }) as const),
    fc.array(tie('layout'), { maxLength: 3 }).map((fields) => ({ kind: 'struct', fields }) as const),
    fc.record({ size: fc.constantFrom(0, 1, 2, 3), item: tie('layout') }).map(({ size, item }) => ({ kind: 'fsl', size, item }) as const),
  ),
})).layout

export interface Sample {
  readonly layout: Layout
  readonly rows: readonly Row[]
  readonly vec: Vec
  readonly seed: number
}

/** Row counts with the interesting ones often. */
export const lengths: fc.Arbitrary<number> = fc.oneof(fc.integer({ min: 0, max: 257 }), fc.constantFrom(0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 256, 257))

/** A column of any layout (or one of `of`) with its rows. */
export function samples(of: fc.Arbitrary<Layout> = layouts): fc.Arbitrary<Sample> {
  return fc.record({ layout: of, n: lengths, seed: fc.integer(), nulls: fc.constantFrom(0, 0, 0.05, 0.5, 1) }).map(({ layout, n, seed, nulls }) => {
    const rows = rowsFor(layout, n, nulls, randomOf(seed))
    return { layout, rows, vec: vecOf(layout, rows, seed ^ 0x5555), seed }
  })
}

/** Selections of n rows: none, all, alternating, one bit, sparse, half, dense; with junk behind row n. */
export function selectionFor(n: number, shape: number, seed: number): { bits: Uint8Array; chosen: number[] } {
  const random = randomOf(seed)
  const one = random.below(Math.max(1, n))
  const rules = [
    () => false,
    () => true,
    (i: number) => i % 2 === 0,
    (i: number) => i === one,
    () => random.chance(0.03),
    () => random.chance(0.5),
    () => random.chance(0.95),
    (i: number) => i >> 6 !== 1,
  ]
  const bits = new Uint8Array(Math.ceil(n / 8) + random.below(3)).fill(random.chance(0.5) ? 0xff : 0)
  const chosen: number[] = []
  for (let i = 0; i < n; i++) {
    if (rules[shape % rules.length]!(i)) {
      chosen.push(i)
      bits[i >>> 3]! |= 1 << (i & 7)
    } else {
      bits[i >>> 3]! &= ~(1 << (i & 7))
    }
  }
  return { bits, chosen }
}

export const SELECTION_SHAPES = 8
