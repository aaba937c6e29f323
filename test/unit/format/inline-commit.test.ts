// A commit that only adds inline rows to one table, read in place: exactly what decodeCommit makes of it.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { ByteReader, ByteWriter, type CommitRecord, decodeCommit, encodeCommit, InlineCommit, type TableChange } from '../../../bindings/format/index.ts'

const number = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }))
const rows = fc
  .record({ rows: number, body: fc.uint8Array({ maxLength: 300 }) })
  .map(({ rows: count, body }) => ({ rows: count, bytes: body, start: 0, end: body.length }))
const inlineChange = fc.record({
  tableId: number,
  schemaVersion: number,
  op: fc.constantFrom('append', 'upsert', 'delete', 'replace'),
  inserted: number,
  updated: number,
  deleted: number,
  inline: rows,
})
const header = {
  branch: number,
  parent: number,
  timeMs: number,
  writeId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
}
const inlineCommit: fc.Arbitrary<CommitRecord> = fc.record({ ...header, changes: fc.tuple(inlineChange) })
/** One that has something else. */
const otherCommit: fc.Arbitrary<CommitRecord> = fc.oneof(
  fc.record({ ...header, author: fc.string(), changes: fc.tuple(inlineChange) }),
  fc.record({ ...header, isArmed: fc.constant(true as const), changes: fc.tuple(inlineChange) }),
  fc.record({ ...header, changes: fc.tuple(inlineChange, inlineChange) }),
  fc.record({ ...header, changes: fc.tuple(inlineChange.map((change): TableChange => ({ ...change, hideRows: Uint32Array.of(3, 9) }))) }),
  fc.record({ ...header, changes: fc.constant([]) }),
)

function encoded(commit: CommitRecord): Uint8Array {
  const w = new ByteWriter()
  encodeCommit(w, commit)
  return w.finish()
}

/** A payload among other bytes: what it is must not be read out of its neighbours. */
function placed(payload: Uint8Array, around: Uint8Array): { readonly bytes: Uint8Array; readonly start: number; readonly end: number } {
  const bytes = new Uint8Array(2 * around.length + payload.length)
  bytes.set(around)
  bytes.set(payload, around.length)
  bytes.set(around, around.length + payload.length)
  return { bytes, start: around.length, end: around.length + payload.length }
}

const fields = ({ branch, parent, timeMs, writeId, changes }: CommitRecord): unknown => structuredClone({ branch, parent, timeMs, writeId, changes })
const around = fc.uint8Array({ maxLength: 40 })

describe('a commit that only adds inline rows', () => {
  it('reads as it decodes, one after the other into one object', () => {
    const commit = new InlineCommit()
    fc.assert(
      fc.property(inlineCommit, around, (given, junk) => {
        const { bytes, start, end } = placed(encoded(given), junk)
        expect(commit.read(bytes, start, end)).toBe(true)
        expect(fields(commit)).toEqual(fields(decodeCommit(new ByteReader(bytes, start, end))))
      }),
    )
  })

  it('is none that has anything else', () => {
    const commit = new InlineCommit()
    fc.assert(
      fc.property(otherCommit, around, (given, junk) => {
        const { bytes, start, end } = placed(encoded(given), junk)
        expect(commit.read(bytes, start, end)).toBe(false)
      }),
    )
  })

  it('is none that decodeCommit refuses, whatever byte is another one and wherever it ends', () => {
    const commit = new InlineCommit()
    const damage = fc.record({ at: fc.nat(), value: fc.nat(255), cut: fc.nat(3), junk: around })
    fc.assert(
      fc.property(inlineCommit, damage, (given, { at, value, cut, junk }) => {
        const payload = encoded(given)
        // Most of it is the body, of which nothing is looked at.
        payload[at % Math.min(payload.length, 60)] = value
        const { bytes, start, end: whole } = placed(payload, junk)
        const end = Math.max(start, whole - cut)
        if (commit.read(bytes, start, end)) expect(fields(commit)).toEqual(fields(decodeCommit(new ByteReader(bytes, start, end))))
      }),
      { numRuns: 1000 },
    )
  })
})
