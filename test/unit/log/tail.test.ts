// The tail decision, by table (log.md section 2).
import { describe, expect, it } from 'vitest'

import { decideTail, mayBeTorn, STOP } from '../../../bindings/log/tail.ts'

const at = (stop: number, later?: number) => decideTail({ stop, stopOffset: 800, nextLsn: 9, later })

describe('what a stop in the newest segment means', () => {
  it.each([
    ['end', { kind: 'torn' }],
    ['zeros', { kind: 'torn' }],
    ['short', { kind: 'torn' }],
    ['length', { kind: 'torn' }],
    ['checksum', { kind: 'torn' }],
    ['footer', { kind: 'sealed' }],
  ] as const)('%s with nothing synced behind it', (name, decision) => expect(at(STOP[name])).toEqual(decision))

  it.each(['end', 'zeros', 'short', 'length', 'checksum'] as const)('%s before a frame that says all before it was synced is damage', (name) => {
    expect(mayBeTorn(STOP[name])).toBe(true)
    expect(at(STOP[name], 1200)).toMatchObject({ kind: 'damage', offset: 800, lsn: 9, laterOffset: 1200 })
  })

  it.each(['sequence', 'epoch', 'padding'] as const)('%s is damage by itself: the checksum was good', (name) => {
    expect(mayBeTorn(STOP[name])).toBe(false)
    expect(at(STOP[name])).toMatchObject({ kind: 'damage', offset: 800, laterOffset: undefined })
  })
})
