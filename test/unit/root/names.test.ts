import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { checkName, checkPrefix, compareNames, inPrefix } from '../../../bindings/root/index.ts'

const unit = fc.constantFrom('a', 'b', '-', '.', '/', '0', ' ', 'é', '\u{ffff}', '\u{e000}', '\u{d7ff}', '\u{1f600}', '\u{10ffff}')
const text = fc.array(unit, { maxLength: 8 }).map((parts) => parts.join(''))

describe('names', () => {
  it('compare as their UTF-8 bytes do', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareNames(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
      }),
      { numRuns: 2000 },
    )
  })

  it('pass or fail, and never change', () => {
    fc.assert(
      fc.property(text, (name) => {
        const legal = name !== '' && name.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && name.normalize('NFC') === name
        if (legal) expect(checkName(name)).toBe(name)
        else expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'options.name' }))
      }),
      { numRuns: 2000 },
    )
  })

  it('are in a prefix as a whole or below it', () => {
    const cases: [string, string, boolean][] = [
      ['a/b', 'a/b', true],
      ['a/b/c', 'a/b', true],
      ['a/bc', 'a/b', false],
      ['a/b', 'a/b/', false],
      ['a/b/c', 'a/b/', true],
      ['anything', '', true],
      ['a', 'a/b', false],
    ]
    for (const [name, prefix, expected] of cases) expect(inPrefix(name, checkPrefix(prefix)), `${name} in ${prefix}`).toBe(expected)
    for (const bad of ['/', '//', 'a//', '../', '/a']) expect(() => checkPrefix(bad)).toThrow(expect.objectContaining({ code: 'options.name' }))
  })
})
