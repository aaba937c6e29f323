// Who wrote what since when: the memory that first-committer-wins is decided by.

import { describe, expect, it } from 'vitest'

import { type AdmittedChange, WriteTracker } from '../../../bindings/engine/index.ts'
import { keyBytesOf, keyText } from '../../../bindings/engine/tracker.ts'

const table = { id: 1, uid: 1, name: 'a' } as AdmittedChange['table']
const other = { id: 2, uid: 2, name: 'b' } as AdmittedChange['table']
const keys = (...texts: string[]): NonNullable<AdmittedChange['keys']> => {
  const data = Uint8Array.from(texts.join(''), (c) => c.charCodeAt(0))
  const ends = texts.map((_, i) => texts.slice(0, i + 1).join('').length)
  return { rows: texts.length, data, start: (row: number) => (row === 0 ? 0 : ends[row - 1]!), end: (row: number) => ends[row]! } as never
}
const change = (op: 'append' | 'upsert' | 'delete' | 'replace', o: object = {}): AdmittedChange =>
  ({ table, change: { tableId: 1, schemaVersion: 1, op, inserted: 0, updated: 0, deleted: 0, ...o } }) as never

describe('the write tracker', () => {
  it('tells the last write of a key after a position, and nothing of other keys and tables', () => {
    const tracker = new WriteTracker()
    tracker.begin()
    tracker.changed(5, { ...change('upsert'), keys: keys('x', 'yy') })
    tracker.changed(7, { ...change('delete'), touched: ['yy'] })
    expect(tracker.writtenSince(table, 'x', 4)).toBe(5)
    expect(tracker.writtenSince(table, 'x', 5)).toBe(0)
    expect(tracker.writtenSince(table, 'yy', 5)).toBe(7)
    expect(tracker.writtenSince(table, 'z', 0)).toBe(0)
    expect(tracker.writtenSince(other, 'x', 0)).toBe(0)
    expect(tracker.changedSince(table, 6)).toBe(7)
    expect(tracker.changedSince(table, 7)).toBe(0)
    expect([...tracker.keysSince(table, 5)]).toEqual([['yy', 7]])
    tracker.end()
  })

  it.each([
    ['a replace', { ...change('replace'), keys: keys('x') }],
    ['a load', change('append', { fragments: [{}] })],
    ['a delete by predicate', change('delete')],
  ])('takes %s for a write of every key', (_what, admitted) => {
    const tracker = new WriteTracker()
    tracker.begin()
    tracker.changed(9, admitted)
    expect(tracker.writtenSince(table, 'never named', 8)).toBe(9)
    expect(tracker.writtenSince(table, 'never named', 9)).toBe(0)
    tracker.end()
  })

  it('remembers while anyone is open and forgets with the last', () => {
    const tracker = new WriteTracker()
    expect(tracker.tracking).toBe(false)
    tracker.begin()
    tracker.begin()
    tracker.changed(3, { ...change('upsert'), keys: keys('x') })
    tracker.end()
    expect(tracker.tracking).toBe(true)
    expect(tracker.writtenSince(table, 'x', 0)).toBe(3)
    tracker.end()
    expect(tracker.tracking).toBe(false)
    tracker.begin()
    expect(tracker.writtenSince(table, 'x', 0)).toBe(0)
    tracker.end()
  })

  it('keeps every byte of a key in its text', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    expect(keyBytesOf(keyText(bytes))).toEqual(bytes)
    expect(keyText(bytes, 65, 68)).toBe('ABC')
  })
})
