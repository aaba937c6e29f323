import { describe, expect, it } from 'vitest'
import { bytesText, countText, durationText, printable, tableLines } from '../../../bindings/cli/render.ts'

describe('output for a terminal', () => {
  it('aligns columns and leaves no blanks at the end', () => {
    expect(
      tableLines(
        ['name', 'n'],
        [
          ['a', '1'],
          ['long name', '1,000'],
        ],
        ['left', 'right'],
      ),
    ).toEqual(['name           n', '─────────  ─────', 'a              1', 'long name  1,000'])
  })

  it('counts wide characters as two cells and combining marks as none', () => {
    expect(
      tableLines(
        ['x', 'y'],
        [
          ['日本', 'a'],
          ['e\u0301', 'b'],
        ],
      ),
    ).toEqual(['x     y', '────  ─', '日本  a', 'e\u0301     b'])
  })

  it('lets no control or direction character through', () => {
    expect(printable('a\u001B[31mb\nc\u202Ed')).toBe('a\\u001b[31mb\\nc\\u202ed')
    expect(tableLines(['x'], [['\u001B]0;title\u0007']]).join('')).not.toContain('\u001B')
  })

  it('cuts long cells', () => {
    expect(tableLines(['x'], [['a'.repeat(100)]])[2]).toHaveLength(60)
  })

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [15 * 1024 * 1024, '15.0 MiB'],
  ])('writes %d bytes as %s', (bytes, text) => expect(bytesText(bytes)).toBe(text))

  it.each([
    [1.234, '1.23 ms'],
    [999, '999 ms'],
    [61_500, '61.5 s'],
    [150_000, '2 min 30 s'],
  ])('writes %d ms as %s', (ms, text) => expect(durationText(ms)).toBe(text))

  it('groups digits of numbers of any size', () => {
    expect([countText(7), countText(-1234), countText(12345678901234567890n)]).toEqual(['7', '-1,234', '12,345,678,901,234,567,890'])
  })
})
