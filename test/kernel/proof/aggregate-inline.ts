// proof/aggregate-inline.ts: cases of aggregate.ts and inline-decode.ts.
import type { Layout } from '../../../bindings/kernels/index.ts'
import { bytesOf as bytesOfHex, type Row, rowsFor } from '../vec-model.ts'
import { integers, rowsOf } from './concat-predicate.ts'
import { bitsOf, bytesOf, compareBytes, masks, type Proofs, type Random, randomStrings, u32s } from './harness.ts'
import type { Case, Output } from './harness.ts'

const NOTHING = new Uint8Array(0)
const INTEGERS = [
  [1, true],
  [2, true],
  [4, true],
  [8, true],
  [1, false],
  [2, false],
  [4, false],
  [8, false],
] as const

/** Without a mask, then every shape of one. */
function* masked(n: number, random: Random): Iterable<readonly [boolean[] | undefined, (row: number) => boolean]> {
  yield [undefined, () => true]
  for (const mask of masks(n, random)) yield [mask, (row) => mask[row]!]
}

const bitsFor = (mask: readonly boolean[] | undefined): Uint8Array => (mask === undefined ? NOTHING : bitsOf(mask, true))

const FLOATS = [0, -0, 1, 1e16, -1e16, 0.1, 3.5, -7, Infinity, 2 ** -140]

/** Leaves of 128 rows in four lanes; leaves in pairs, pairs of pairs, the rest from the right. */
function pairwise(values: readonly number[], chosen: (row: number) => boolean): number {
  const stack: number[] = []
  for (let first = 0, leaves = 1; first < values.length; first += 128, leaves++) {
    const lanes = [0, 0, 0, 0]
    for (let row = first; row < Math.min(values.length, first + 128); row++) if (chosen(row)) lanes[row & 3]! += values[row]!
    let sum = lanes[0]! + lanes[1]! + (lanes[2]! + lanes[3]!)
    for (let k = leaves; (k & 1) === 0; k >>= 1) sum = stack.pop()! + sum
    stack.push(sum)
  }
  let total = stack.pop() ?? 0
  while (stack.length > 0) total = stack.pop()! + total
  return total
}

function floatsOf(n: number, random: Random, width: number, nan: boolean): { bytes: Uint8Array; values: number[] } {
  const some = Array.from({ length: n }, () =>
    nan && random.chance(0.1) ? NaN : random.chance(0.3) ? FLOATS[random.below(nan ? 10 : 8)]! : random.below(1000) / 7,
  )
  const array = width === 4 ? Float32Array.from(some) : Float64Array.from(some)
  return { bytes: new Uint8Array(array.buffer), values: [...array] }
}

/** out = { least, most }, 16 bytes each, of which those of the value are written; anything where no row was looked at. */
function extremesOutput(least: Uint8Array | undefined, most: Uint8Array | undefined, random: Random): Output {
  if (least === undefined || most === undefined) return { expected: NOTHING, slack: 32 }
  const before = bytesOf(random, 32)
  const expected = before.slice()
  expected.set(least, 0)
  expected.set(most, 16)
  return { before, expected }
}

/** First of the least, first of the greatest. */
function extremeRows<T>(rows: readonly number[], at: (row: number) => T, less: (a: T, b: T) => boolean): [number, number] {
  let [least, most] = [rows[0] ?? -1, rows[0] ?? -1]
  for (const row of rows) {
    if (less(at(row), at(least))) least = row
    if (less(at(most), at(row))) most = row
  }
  return [least, most]
}

export const AGGREGATE: Proofs = {
  *sum_ints(n, random) {
    for (const [kind, [width, signed]] of INTEGERS.entries()) {
      const p = rowsOf(random, n, width)
      const rows = integers(p, width, signed)
      for (const [mask, chosen] of masked(n, random)) {
        const sum = rows.reduce((total, value, i) => (chosen(i) ? total + value : total), 0n)
        const check: Case['check'] = (memory, at) => {
          const [low, high] = [memory.getBigInt64(at[2]!, true), memory.getBigInt64(at[2]! + 8, true)]
          if (low + (high << 32n) !== sum) throw new Error(`sum_ints n=${n} kind=${kind}: ${low} + ${high} * 2^32, expected ${sum}`)
        }
        const call: Case['call'] = (x, at) => x.sum_ints(at[0]!, kind, mask === undefined ? 0 : at[1]!, n, at[2]!)
        yield { inputs: [p, bitsFor(mask)], outputs: [{ expected: NOTHING, slack: 16 }], call, check }
      }
    }
  },
  *sum_floats(n, random) {
    for (const width of [4, 8]) {
      const { bytes, values } = floatsOf(n, random, width, false)
      for (const [mask, chosen] of masked(n, random)) {
        // Rows are read in groups of four.
        const readable = Math.max(bytes.length + 16, Math.ceil(n / 4) * 4 * width)
        const call: Case['call'] = (x, at) => x.sum_floats(at[0]!, width === 4 ? 1 : 0, mask === undefined ? 0 : at[1]!, n)
        yield { inputs: [{ bytes, readable }, bitsFor(mask)], outputs: [], call, result: pairwise(values, chosen) }
      }
    }
  },
  *min_max(n, random) {
    for (const [kind, [width, signed]] of [...INTEGERS.entries(), [11, [16, true]] as const]) {
      const p = rowsOf(random, n, width)
      const rows = integers(p, width, signed)
      for (const [mask, chosen] of masked(n, random)) {
        const list = rows.flatMap((_, i) => (chosen(i) ? [i] : []))
        const cell = (row: number): Uint8Array | undefined => (row < 0 ? undefined : p.subarray(row * width, (row + 1) * width))
        const [least, most] = extremeRows(
          list,
          (row) => rows[row]!,
          (a, b) => a < b,
        )
        const call: Case['call'] = (x, at) => x.min_max(at[0]!, kind, mask === undefined ? 0 : at[1]!, n, at[2]!)
        yield { inputs: [p, bitsFor(mask)], outputs: [extremesOutput(cell(least), cell(most), random)], call, result: list.length }
      }
    }
    for (const width of [4, 8]) {
      const { bytes, values } = floatsOf(n, random, width, true)
      for (const [mask, chosen] of masked(n, random)) {
        const list = values.flatMap((value, i) => (chosen(i) && !Number.isNaN(value) ? [i] : []))
        const [least, most] = extremeRows(
          list,
          (row) => values[row]!,
          (x, y) => x < y,
        )
        // -0 and +0 are equal: either may be kept.
        const check: Case['check'] = (memory, at) => {
          if (list.length === 0) return
          const found = [0, 16].map((offset) => (width === 4 ? memory.getFloat32(at[2]! + offset, true) : memory.getFloat64(at[2]! + offset, true)))
          if (found[0] !== values[least] || found[1] !== values[most]) throw new Error(`min_max n=${n}: ${String(found)}`)
        }
        const call: Case['call'] = (x, at) => x.min_max(at[0]!, width === 4 ? 8 : 9, mask === undefined ? 0 : at[1]!, n, at[2]!)
        yield { inputs: [bytes, bitsFor(mask)], outputs: [{ expected: NOTHING, slack: 32 }], call, check, result: list.length }
      }
    }
  },
  *min_max_bytes(n, random) {
    for (const width of [0, 3, 9]) {
      const strings = randomStrings(n, random, 12)
      const data = width === 0 ? strings.data : rowsOf(random, n, width)
      const rows = width === 0 ? strings.rows : Array.from({ length: n }, (_, i) => data.subarray(i * width, (i + 1) * width))
      for (const [mask, chosen] of masked(n, random)) {
        const list = rows.flatMap((_, i) => (chosen(i) ? [i] : []))
        const found = extremeRows(
          list,
          (row) => rows[row]!,
          (a, b) => compareBytes(a, b) < 0,
        )
        const call: Case['call'] = (x, at) => x.min_max_bytes(width === 0 ? at[0]! : 0, at[1]!, width, mask === undefined ? 0 : at[2]!, n, at[3]!)
        yield { inputs: [strings.offsets, data, bitsFor(mask)], outputs: [{ expected: u32s(list.length === 0 ? [0, 0] : found) }], call, result: list.length }
      }
    }
  },
  *codes_used(n, random) {
    for (const width of [1, 2, 4]) {
      const codes = Array.from({ length: n }, () => random.below(random.chance(0.1) ? 60 : 43))
      const src = new Uint8Array(n * width)
      for (const [i, code] of codes.entries()) src[i * width] = code
      for (const [mask, chosen] of masked(n, random)) {
        const used = Array.from({ length: 43 }, (_, entry) => codes.some((code, i) => code === entry && chosen(i)))
        const call: Case['call'] = (x, at) => x.codes_used(at[0]!, width, mask === undefined ? 0 : at[1]!, n, 43, at[2]!)
        yield { inputs: [src, bitsFor(mask)], outputs: [{ before: new Uint8Array(6), expected: bitsOf(used) }], call }
      }
    }
  },
}

// ---- inline bodies --------------------------------------------------------------------------------------------------------------------------------------

const LAYOUTS: readonly Layout[] = [
  { kind: 'fixed', width: 4 },
  { kind: 'bool' },
  { kind: 'var' },
  { kind: 'list', item: { kind: 'fixed', width: 8 } },
  { kind: 'struct', fields: [{ kind: 'var' }, { kind: 'fixed', width: 3 }] },
  { kind: 'fsl', size: 2, item: { kind: 'list', item: { kind: 'bool' } } },
]
const KINDS = { fixed: 0, bool: 1, var: 2, list: 3, struct: 4, fsl: 5, dict: 2 } as const

/** One node of the preorder walk with all that its column holds after every body. */
interface Node {
  readonly layout: Layout
  readonly parent: number
  readonly valid: boolean[]
  readonly bytes: number[]
  readonly bits: boolean[]
  readonly ends: number[]
  /** Of the last body. */
  childRows: number
  absent: boolean
}

function nodesOf(layouts: readonly Layout[], parent: number, into: Node[]): Node[] {
  for (const layout of layouts) {
    const me = into.push({ layout, parent, valid: [], bytes: [], bits: [], ends: [0], childRows: 0, absent: false }) - 1
    nodesOf(layout.kind === 'struct' ? layout.fields : layout.kind === 'list' || layout.kind === 'fsl' ? [layout.item] : [], me, into)
  }
  return into
}

/** Appends one body's rows of the node at `i` to its column and its bytes to `out`; returns the node behind its subtree. */
function writeNode(nodes: readonly Node[], i: number, rows: readonly Row[], absent: boolean, random: Random, out: number[]): number {
  const node = nodes[i]!
  const { layout } = node
  const nulls = rows.filter((row) => row === null).length
  const none = absent || (rows.length > 0 && nulls === rows.length)
  const lengths =
    layout.kind === 'var'
      ? rows.map((row) => (row === null ? 0 : (row as string).length / 2))
      : layout.kind === 'list'
        ? rows.map((row) => (row as Row[] | null)?.length ?? 0)
        : []
  // Any width that holds the lengths.
  const width = lengths.length > 0 && !none ? Math.max(Math.max(...lengths) > 255 ? 1 : 0, random.below(3)) : 0
  if (!absent) out.push((none ? 2 : nulls > 0 ? 1 : 0) | (width << 2))
  if (!none && nulls > 0) out.push(...bitsOf(rows.map((row) => row !== null)))
  node.valid.push(...rows.map((row) => row !== null))
  node.absent = none
  const lengthsOut = (): void => {
    for (const length of lengths) out.push(...[length & 255, length >> 8, 0, 0].slice(0, 1 << width))
  }
  switch (layout.kind) {
    case 'fixed': {
      // Under a null lie any bytes, and they are kept; where nothing follows, zeros.
      const bytes = rows.flatMap((row) =>
        none ? Array<number>(layout.width).fill(0) : row === null ? [...bytesOf(random, layout.width)] : [...bytesOfHex(row as string)],
      )
      node.bytes.push(...bytes)
      if (!none) out.push(...bytes)
      return i + 1
    }
    case 'bool': {
      const bits = rows.map((row) => (none ? false : row === null ? random.chance(0.5) : (row as boolean)))
      node.bits.push(...bits)
      if (!none) out.push(...bitsOf(bits))
      return i + 1
    }
    case 'var': {
      const bytes = rows.flatMap((row) => (row === null ? [] : [...bytesOfHex(row as string)]))
      for (const length of lengths) node.ends.push(node.ends.at(-1)! + length)
      node.bytes.push(...bytes)
      if (!none) lengthsOut()
      out.push(...bytes)
      return i + 1
    }
    case 'list': {
      for (const length of lengths) node.ends.push(node.ends.at(-1)! + length)
      if (!none) lengthsOut()
      const items = rows.flatMap((row) => (row as Row[] | null) ?? [])
      node.childRows = items.length
      return writeNode(nodes, i + 1, items, none, random, out)
    }
    case 'struct': {
      node.childRows = rows.length
      let next = i + 1
      for (const f of layout.fields.keys())
        next = writeNode(
          nodes,
          next,
          rows.map((row) => (row as Row[] | null)?.[f] ?? null),
          none,
          random,
          out,
        )
      return next
    }
    case 'fsl': {
      const items = rows.flatMap((row) => (row as Row[] | null) ?? Array<Row>(layout.size).fill(null))
      node.childRows = items.length
      return writeNode(nodes, i + 1, items, none, random, out)
    }
    case 'dict':
      throw new Error('bodies hold no dictionaries')
  }
}

interface Bodies {
  readonly nodes: readonly Node[]
  readonly bytes: Uint8Array
  readonly starts: number[]
  readonly ends: number[]
  readonly counts: number[]
}

/** n rows of every column in one to four bodies, with junk between them. */
function bodiesOf(n: number, nulls: number, random: Random): Bodies {
  const nodes = nodesOf(LAYOUTS, -1, [])
  const out: number[] = []
  const made: Bodies = { nodes, bytes: NOTHING, starts: [], ends: [], counts: [] }
  const parts = 1 + (n & 3)
  for (let part = 0; part < parts; part++) {
    const count = Math.floor(((part + 1) * n) / parts) - Math.floor((part * n) / parts)
    out.push(...bytesOf(random, random.below(3)))
    made.starts.push(out.length)
    let next = 0
    for (const layout of LAYOUTS) next = writeNode(nodes, next, rowsFor(layout, count, nulls, random), false, random, out)
    made.ends.push(out.length)
    made.counts.push(count)
  }
  return { ...made, bytes: Uint8Array.from(out) }
}

/** Nodes as the kernel has them, 16 words each; totals as after measuring (with nulls) or decoding. */
function nodeWords(nodes: readonly Node[], totals: 'none' | 'measured' | 'decoded'): number[] {
  return nodes.flatMap(({ layout, parent, valid, bytes, ends, childRows, absent }) => {
    const words = Array<number>(16).fill(0)
    words[0] = KINDS[layout.kind]
    words[1] = layout.kind === 'fixed' ? layout.width : layout.kind === 'fsl' ? layout.size : 0
    words[2] = parent
    if (totals === 'none') return words
    words[3] = absent ? 1 : 0
    words[4] = childRows
    words[5] = valid.length
    words[6] = layout.kind === 'var' ? bytes.length : layout.kind === 'list' ? ends.at(-1)! : 0
    words[7] = totals === 'measured' ? valid.filter((bit) => !bit).length : 0
    return words
  })
}

function listsOf({ bytes, starts, ends, counts }: Bodies): Uint8Array[] {
  return [bytes, u32s(starts), u32s(ends), u32s(counts)]
}

export const INLINE: Proofs = {
  *inline_measure(n, random) {
    for (const nulls of [0, 0.2, 1]) {
      const made = bodiesOf(n, nulls, random)
      const outputs = [{ before: u32s(nodeWords(made.nodes, 'none')), expected: u32s(nodeWords(made.nodes, 'measured')) }]
      const bodies = made.starts.length
      for (const stated of [true, false]) {
        const call: Case['call'] = (x, at) =>
          x.inline_measure(at[0]!, made.bytes.length, at[1]!, stated ? at[2]! : 0, at[3]!, bodies, at[4]!, made.nodes.length)
        yield { inputs: listsOf(made), outputs, call, result: bodies }
      }
    }
  },
  *inline_decode(n, random) {
    for (const nulls of [0, 0.2, 1]) {
      const made = bodiesOf(n, nulls, random)
      const { nodes } = made
      const outputs: Output[] = []
      /** Word of the nodes, output it points at. */
      const pointers: [number, number][] = []
      for (const [i, { layout, valid, bytes, bits, ends }] of nodes.entries()) {
        const point = (word: number, output: Output): void => void pointers.push([i * 16 + word, outputs.push(output)])
        if (valid.includes(false)) point(8, { before: new Uint8Array(Math.ceil(valid.length / 8)), expected: bitsOf(valid) })
        if (layout.kind === 'fixed') point(9, { expected: Uint8Array.from(bytes) })
        if (layout.kind === 'bool') point(9, { before: new Uint8Array(Math.ceil(valid.length / 8)), expected: bitsOf(bits) })
        if (layout.kind === 'var') point(9, { expected: Uint8Array.from(bytes), slack: 16 })
        if (layout.kind === 'var' || layout.kind === 'list') point(10, { before: u32s([0]), expected: u32s(ends) })
      }
      const words = nodeWords(nodes, 'none')
      const first = 4
      const check: Case['check'] = (memory, at) => {
        for (const [i, word] of nodeWords(nodes, 'decoded').entries()) {
          if ((i & 15) >= 8 && (i & 15) <= 10) continue
          if (memory.getInt32(at[first]! + i * 4, true) !== word) throw new Error(`inline_decode n=${n}: word ${i & 15} of node ${i >> 4}`)
        }
      }
      yield {
        inputs: listsOf(made),
        outputs: [{ before: u32s(words), expected: NOTHING, slack: words.length * 4 }, ...outputs],
        call: (x, at) => x.inline_decode(at[0]!, made.bytes.length, at[1]!, at[2]!, at[3]!, made.starts.length, at[first]!, nodes.length),
        addresses: (view, at) => pointers.forEach(([word, output]) => view.setUint32(at[first]! + word * 4, at[first + output]!, true)),
        check,
        result: made.starts.length,
      }
    }
  },
}
