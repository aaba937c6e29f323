// A reference with indexes: its bytes, the files it stands for, and the names they get by promotion.
import { describe, expect, test } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  decodeFragmentRef,
  encodeFragmentRef,
  filesOf,
  type FragmentRef,
  type IndexRef,
  refBytes,
  withGenerations,
} from '../../../bindings/format/index.ts'

const digest = (byte: string): string => byte.repeat(32)
const SORTED: IndexRef = { kind: 'sorted', columns: [3, 1], digest: digest('c3'), bytes: 5_000_000 }
const UNIQUE: IndexRef = { kind: 'unique', columns: [300], digest: digest('d4'), bytes: 7, gen: 2 }
const PLAIN: FragmentRef = {
  digest: digest('a1'),
  bytes: 1000,
  rows: 10,
  batchRows: 65_536,
  schemaVersion: 1,
  sorted: false,
  rangeRoot: digest('0f'),
  footerOffset: 800,
  footerBytes: 190,
  footerHash: '0123456789abcdef',
  columns: [{ id: 1, bytes: 80, nullCount: 0, min: -1, max: 2 }],
}
const KEYED: FragmentRef = { ...PLAIN, gen: 1, index: { digest: digest('b2'), bytes: 20 } }
const ALL: FragmentRef = { ...KEYED, indexes: [SORTED, UNIQUE] }

function encoded(ref: FragmentRef): Uint8Array {
  const w = new ByteWriter()
  encodeFragmentRef(w, ref)
  return w.finish()
}

const reader = (bytes: Uint8Array): ByteReader => new ByteReader(bytes, 0, bytes.length)

describe('a fragment reference', () => {
  test.each([
    ['without any index', PLAIN],
    ['with the index of its key', KEYED],
    ['with declared indexes only', { ...PLAIN, indexes: [SORTED] }],
    ['with all kinds', ALL],
  ])('reads back as it was written: %s', (_, ref) => {
    expect(decodeFragmentRef(reader(encoded(ref)))).toEqual(ref)
  })

  test('has the bytes of format version 1 when it has no declared index', () => {
    expect(encoded(PLAIN)).toEqual(encoded({ ...PLAIN, indexes: [] }))
  })

  test('is refused when it ends within its indexes, names a kind this version does not know, or an index of no column', () => {
    const bytes = encoded({ ...PLAIN, indexes: [SORTED] })
    // Where the columns would be, whose number is one byte.
    const at = encoded({ ...PLAIN, columns: [] }).length - 1
    for (const [offset, value] of [
      [at + 1, 9],
      [at + 2, 0],
      [at, 0],
    ] as const) {
      const broken = bytes.slice()
      broken[offset] = value
      expect(() => decodeFragmentRef(reader(broken))).toThrow(/index/)
    }
    for (let end = at; end < at + 30; end++) expect(() => decodeFragmentRef(reader(bytes.slice(0, end)))).toThrow()
  })

  test('names every file it stands for, the fragment first', () => {
    expect(filesOf(ALL).map(({ role, name }) => [role, name])).toEqual([
      ['fragment', `fragments/a1/${digest('a1')}.g1.arrow`],
      ['index', `indexes/b2/${digest('b2')}.idx`],
      ['index', `indexes/c3/${digest('c3')}.idx`],
      ['index', `indexes/d4/${digest('d4')}.g2.idx`],
    ])
    expect(refBytes(ALL)).toBe(1000 + 20 + 5_000_000 + 7)
  })

  test('takes the generations that promotion gave its files, each by digest and extension', () => {
    const gens = new Map([
      [`${ALL.digest}.arrow`, 0],
      [`${ALL.digest}.idx`, 9],
      [`${SORTED.digest}.idx`, 4],
    ])
    const { gen: _gen, ...rest } = ALL
    expect(withGenerations(ALL, (each, ext) => gens.get(`${each}.${ext}`))).toEqual({ ...rest, indexes: [{ ...SORTED, gen: 4 }, UNIQUE] })
  })
})
