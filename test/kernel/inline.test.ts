// test/kernel/inline.test.ts: inline bodies: encoding, the two decoders against each other and against plain rows, hostile bytes.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeInline,
  decodeInlineOne,
  encodeInline,
  encodeInlineInto,
  InlineDecoder,
  inlineBytes,
  isInlineFailure,
  kernels,
  type Layout,
  nullVec,
  type Vec,
} from '../../bindings/kernels/index.ts'
import { checkVec, hexOf, layouts, lengths, randomOf, type Row, rowsFor, rowsOf, vecOf } from './vec-model.ts'

const tables = fc.array(layouts, { minLength: 1, maxLength: 4 })
const fixed = (width: number): Layout => ({ kind: 'fixed', width })

interface Body {
  readonly rows: readonly (readonly Row[])[]
  readonly count: number
}

/** Bodies with gaps between them, and where they are. */
function pack(
  kinds: readonly Layout[],
  bodies: readonly Body[],
  seed: number,
): { bytes: Uint8Array; starts: Uint32Array; ends: Uint32Array; counts: Uint32Array } {
  const random = randomOf(seed)
  const parts = bodies.map((body) =>
    encodeInline(
      kinds.map((layout, c) => vecOf(layout, body.rows[c]!, seed + c)),
      0,
      body.count,
    ),
  )
  const starts = new Uint32Array(bodies.length)
  const ends = new Uint32Array(bodies.length)
  let at = random.below(5)
  parts.forEach((part, i) => {
    starts[i] = at
    ends[i] = at + part.length
    at += part.length + random.below(9)
  })
  const bytes = new Uint8Array(at).fill(0xff)
  parts.forEach((part, i) => bytes.set(part, starts[i]))
  return { bytes, starts, ends, counts: Uint32Array.from(bodies, (body) => body.count) }
}

function good(result: readonly Vec[] | { badBody: number }): readonly Vec[] {
  if (isInlineFailure(result)) throw new Error(`body ${result.badBody} did not parse`)
  return result
}

describe('inline bodies', () => {
  it('come back as the same rows, many bodies in one call and each alone', () => {
    fc.assert(
      fc.property(
        tables,
        fc.array(fc.oneof(fc.constant(1), fc.nat(9), lengths), { maxLength: 8 }),
        fc.integer(),
        fc.constantFrom(0, 0.3, 1),
        (kinds, counts, seed, nulls) => {
          const bodies = counts.map((count, b) => ({ count, rows: kinds.map((layout, c) => rowsFor(layout, count, nulls, randomOf(seed + b * 10 + c))) }))
          const { bytes, starts, ends, counts: rowCounts } = pack(kinds, bodies, seed)
          const expected = kinds.map((_, c) => bodies.flatMap((body) => body.rows[c]!))
          for (const stops of [undefined, ends]) {
            expect(good(decodeInline(bytes, starts, rowCounts, kinds, stops)).map((v) => rowsOf(checkVec(v)))).toEqual(expected)
          }
          bodies.forEach((body, b) => {
            const one = decodeInlineOne(bytes, starts[b]!, ends[b]!, body.count, kinds)
            expect(one!.map((v) => rowsOf(checkVec(v)))).toEqual(body.rows)
          })
        },
      ),
      { numRuns: 500 },
    )
  })

  it('encodes any range of rows like a column of those rows, in the measured size', () => {
    fc.assert(
      fc.property(tables, lengths, fc.nat(), fc.nat(), fc.integer(), (kinds, n, a, b, seed) => {
        const start = a % (n + 1)
        const end = start + (b % (n - start + 1))
        const rows = kinds.map((layout, c) => rowsFor(layout, n, 0.3, randomOf(seed + c)))
        const vecs = kinds.map((layout, c) => vecOf(layout, rows[c]!, seed + c))
        const body = encodeInline(vecs, start, end)
        expect(inlineBytes(vecs, start, end)).toBe(body.length)
        const alone = kinds.map((layout, c) => vecOf(layout, rows[c]!.slice(start, end), seed + 99 + c))
        // The same rows have the same bytes, whatever junk lies under their nulls.
        expect(hexOf(body)).toBe(hexOf(encodeInline(alone, 0, end - start)))
        const target = new Uint8Array(body.length + 20).fill(0x77)
        expect(encodeInlineInto(vecs, start, end, target, 10)).toBe(10 + body.length)
        expect(target.every((byte, i) => (i >= 10 && i < 10 + body.length) || byte === 0x77)).toBe(true)
        expect(decodeInlineOne(body, 0, body.length, end - start, kinds)!.map(rowsOf)).toEqual(rows.map((column) => column.slice(start, end)))
      }),
      { numRuns: 400 },
    )
  })

  it('are the bytes of the format', () => {
    const body = (layout: Layout, rows: readonly Row[]): string => hexOf(encodeInline([vecOf(layout, rows)], 0, rows.length))
    expect(body(fixed(2), ['0102', '0304'])).toBe('0001020304')
    expect(body(fixed(2), ['0102', null])).toBe('010101020000')
    expect(body(fixed(2), [null, null])).toBe('02')
    expect(body(fixed(2), [])).toBe('00')
    expect(body({ kind: 'bool' }, [true, false, true])).toBe('0005')
    expect(body({ kind: 'bool' }, [true, null, true])).toBe('010505')
    expect(body({ kind: 'var' }, ['aa', '', 'bbcc'])).toBe('00010002aabbcc')
    expect(body({ kind: 'dict', width: 2 }, ['aa', null, 'aa'])).toBe('0105010001aaaa')
    expect(body({ kind: 'var' }, ['ab'.repeat(256)])).toBe(`040001${'ab'.repeat(256)}`)
    expect(body({ kind: 'var' }, ['ab'.repeat(65_536)]).slice(0, 12)).toBe('0800000100ab')
    expect(body({ kind: 'list', item: fixed(1) }, [['01', '02'], null, []])).toBe('01050200000001' + '02')
    expect(body({ kind: 'struct', fields: [fixed(1), { kind: 'bool' }] }, [['01', true], null])).toBe('0101' + '01010100' + '010101')
    expect(body({ kind: 'fsl', size: 2, item: fixed(1) }, [null, ['01', '02']])).toBe('0102' + '010c' + '00000102')
    expect(body({ kind: 'fsl', size: 2, item: fixed(1) }, [null])).toBe('02')
  })

  it('decodes no bodies to empty columns', () => {
    const none = new Uint32Array(0)
    const kinds: Layout[] = [fixed(4), { kind: 'list', item: { kind: 'var' } }]
    expect(good(decodeInline(new Uint8Array(0), none, none, kinds)).map((v) => rowsOf(checkVec(v)))).toEqual([[], []])
  })

  it('keeps its shape over calls and gives its memory back', () => {
    const kinds: Layout[] = [fixed(8), { kind: 'var' }]
    const decoder = new InlineDecoder(kinds)
    const rows = kinds.map((layout) => rowsFor(layout, 100, 0.2, randomOf(4)))
    const bodies = Array.from({ length: 100 }, (_, i) => ({ count: 1, rows: rows.map((column) => [column[i]!]) }))
    const { bytes, starts, ends, counts } = pack(kinds, bodies, 5)
    const used = kernels().arena.usedBytes
    for (let round = 0; round < 3; round++) expect(good(decoder.decode(bytes, starts, counts, ends)).map(rowsOf)).toEqual(rows)
    expect(kernels().arena.usedBytes).toBe(used)
  })
})

describe('hostile bodies', () => {
  /** Both decoders on one body; undefined when neither accepts it. */
  function both(bytes: Uint8Array, count: number, kinds: readonly Layout[]): Row[][] | undefined {
    const bulk = decodeInline(bytes, Uint32Array.of(0), Uint32Array.of(count), kinds, Uint32Array.of(bytes.length))
    const one = decodeInlineOne(bytes, 0, bytes.length, count, kinds)
    expect(isInlineFailure(bulk)).toBe(one === undefined)
    if (isInlineFailure(bulk)) {
      expect(bulk.badBody).toBe(0)
      return undefined
    }
    const rows = bulk.map((v) => rowsOf(checkVec(v)))
    expect(one!.map((v) => rowsOf(checkVec(v)))).toEqual(rows)
    return rows
  }

  it('are refused or read alike by both decoders, wherever a byte is changed, cut or added', () => {
    fc.assert(
      fc.property(tables, fc.nat(40), fc.integer(), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat(3), (kinds, n, seed, edits, cut) => {
        const vecs = kinds.map((layout, c) => vecOf(layout, rowsFor(layout, n, 0.2, randomOf(seed + c)), seed))
        const body = encodeInline(vecs, 0, n)
        for (const [at, value] of edits) body[at % body.length] = value
        both(body.subarray(0, Math.max(0, body.length - cut)), n, kinds)
        both(body, n + cut, kinds)
      }),
      { numRuns: 1500 },
    )
  })

  it('are refused at every truncation', () => {
    const kinds: Layout[] = [fixed(4), { kind: 'var' }, { kind: 'bool' }, { kind: 'list', item: { kind: 'struct', fields: [{ kind: 'var' }, fixed(2)] } }]
    const vecs = kinds.map((layout, c) => vecOf(layout, rowsFor(layout, 20, 0.2, randomOf(c)), c))
    const body = encodeInline(vecs, 0, 20)
    for (let length = 0; length < body.length; length++) {
      const cut = body.slice(0, length)
      expect(both(cut, 20, kinds)).toBeUndefined()
      expect(decodeInline(cut, Uint32Array.of(0), Uint32Array.of(20), kinds)).toEqual({ badBody: 0 })
      // The last column alone: what follows cannot hide a read past the end.
      for (const layout of kinds) {
        const alone = encodeInline([vecs[kinds.indexOf(layout)]!], 0, 20)
        const short = alone.slice(0, length % alone.length)
        expect(decodeInline(short, Uint32Array.of(0), Uint32Array.of(20), [layout])).toEqual({ badBody: 0 })
      }
    }
    expect(both(body, 20, kinds)).toBeDefined()
  })

  it('cannot make lengths, counts or flags lie', () => {
    const u32max = [0xff, 0xff, 0xff, 0xff]
    const cases: [Layout, number, number[]][] = [
      [{ kind: 'var' }, 1, [8, ...u32max, 1, 2, 3]],
      [{ kind: 'var' }, 2, [8, ...u32max, 2, 0, 0, 0, 1]],
      [{ kind: 'list', item: fixed(8) }, 1, [8, ...u32max, 0]],
      [{ kind: 'list', item: fixed(8) }, 1, [8, 0xff, 0xff, 0xff, 0x7f, 2]],
      [{ kind: 'list', item: { kind: 'struct', fields: [] } }, 2, [8, ...u32max, ...u32max, 0]],
      [{ kind: 'fsl', size: 0x7fffffff, item: fixed(8) }, 5, [2]],
      [{ kind: 'fsl', size: 0x7fffffff, item: { kind: 'fsl', size: 0x7fffffff, item: fixed(8) } }, 1, [0, 0, 0]],
      [{ kind: 'fsl', size: 0x40000000, item: fixed(8) }, 4, [0, 0]],
      [{ kind: 'fsl', size: 0x40000000, item: fixed(8) }, 4, [2]],
      [{ kind: 'var' }, 0x40000000, [8]],
      [{ kind: 'list', item: fixed(1) }, 0x40000001, [8, 1, 0, 0, 0, 0, 9]],
      [fixed(8), 0x7fffffff, [2]],
      [fixed(8), 0xffffffff, [2]],
      [fixed(8), 0x20000001, [0, 1, 2, 3, 4, 5, 6, 7, 8]],
      [{ kind: 'bool' }, 0xffffffff, [0, 1]],
      [{ kind: 'var' }, 0x80000000, [8, 1]],
      [fixed(1), 1, [3, 1]],
      [fixed(1), 1, [4, 1]],
      [{ kind: 'var' }, 1, [12, 0]],
      [{ kind: 'var' }, 1, [16, 0]],
      [fixed(1), 1, [1, 3, 1]],
      [{ kind: 'bool' }, 2, [0, 7]],
      [fixed(1), 1, []],
    ]
    for (const [layout, count, body] of cases) {
      const bytes = Uint8Array.from(body)
      expect(decodeInline(bytes, Uint32Array.of(0), Uint32Array.of(count), [layout])).toEqual({ badBody: 0 })
      expect(decodeInlineOne(bytes, 0, bytes.length, count, [layout])).toBeUndefined()
    }
  })

  it('are named by their index, whatever comes after them', () => {
    const body = encodeInline([vecOf(fixed(2), ['0102'])], 0, 1)
    const bytes = Uint8Array.from([...body, ...body, 3, 0, 0, ...body])
    const ones = Uint32Array.of(1, 1, 1, 1)
    expect(decodeInline(bytes, Uint32Array.of(0, 3, 6, 9), ones, [fixed(2)])).toEqual({ badBody: 2 })
    expect(decodeInline(bytes, Uint32Array.of(0, 3, 99, 9), ones, [fixed(2)])).toEqual({ badBody: 2 })
    expect(decodeInline(bytes, Uint32Array.of(0, 0xffffffff), Uint32Array.of(1, 1), [fixed(2)])).toEqual({ badBody: 1 })
    // A body must end at its stated end.
    expect(decodeInline(bytes, Uint32Array.of(0, 3), Uint32Array.of(1, 1), [fixed(2)], Uint32Array.of(3, 7))).toEqual({ badBody: 1 })
    expect(decodeInline(bytes, Uint32Array.of(0, 3), Uint32Array.of(1, 1), [fixed(2)], Uint32Array.of(3, 2))).toEqual({ badBody: 1 })
  })

  it('spends bytes on nulls when there are too many to be free', () => {
    const layout: Layout = { kind: 'fsl', size: 1 << 22, item: { kind: 'bool' } }
    const few = encodeInline([nullVec(layout, 4)], 0, 4)
    expect(few.length).toBe(1)
    const many = encodeInline([nullVec(layout, 5)], 0, 5)
    expect(many.length).toBeGreaterThan(5 << 19)
    expect(decodeInlineOne(many, 0, many.length, 5, [layout])![0]!.nullCount).toBe(5)
  })
})
