// The payload of a vacuum record.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { ByteReader, ByteWriter, decodeVacuum, DecodeError, encodeVacuum, isContentName, type VacuumRecord } from '../../../bindings/format/index.ts'

const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const name = fc.tuple(hex, fc.constantFrom('arrow', 'idx', 'dv'), fc.integer({ min: 0, max: 1_000_000 })).map(([digest, ext, gen]) => {
  return `${ext === 'idx' ? 'indexes' : 'fragments'}/${digest.slice(0, 2)}/${digest}${gen === 0 ? '' : `.g${gen}`}.${ext}`
})
const record: fc.Arbitrary<VacuumRecord> = fc.record({
  timeMs: fc.integer({ min: 0, max: 2 ** 45 }),
  id: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  floor: fc.integer({ min: 0, max: 2 ** 50 }),
  names: fc.uniqueArray(name, { maxLength: 20 }).map((names) => names.toSorted()),
})

function encoded(given: VacuumRecord): Uint8Array {
  const w = new ByteWriter()
  encodeVacuum(w, given)
  return w.finish()
}

const decoded = (bytes: Uint8Array): VacuumRecord => decodeVacuum(new ByteReader(bytes, 0, bytes.length))

describe('a vacuum record', () => {
  it('gives back what was put in', () => {
    fc.assert(
      fc.property(record, (given) => {
        expect(decoded(encoded(given))).toEqual(given)
      }),
    )
  })

  it('is refused when it is cut anywhere, or longer than it says', () => {
    const bytes = encoded({
      timeMs: 7,
      id: new Uint8Array(16),
      floor: 300,
      names: [`fragments/ab/${'ab'.repeat(32)}.arrow`, `indexes/cd/${'cd'.repeat(32)}.g2.idx`],
    })
    for (let end = 0; end < bytes.length; end++) expect(() => decoded(bytes.subarray(0, end)), String(end)).toThrow(DecodeError)
    expect(() => decoded(Uint8Array.from([...bytes, 0]))).toThrow(DecodeError)
  })

  it('is refused when its names do not ascend', () => {
    const names = [`fragments/ab/${'ab'.repeat(32)}.arrow`, `fragments/aa/${'aa'.repeat(32)}.arrow`]
    expect(() => decoded(encoded({ timeMs: 0, id: new Uint8Array(16), floor: 0, names }))).toThrow(/out of order/)
  })

  it.each([
    'fragments/ab/notes.txt',
    `fragments/ab/${'ab'.repeat(32)}.idx.bak`,
    `fragments/ab/${'AB'.repeat(32)}.arrow`,
    `fragments/ab/${'ab'.repeat(32)}.g0.arrow`,
    `checkpoints/00000000000000000007.ckpt`,
  ])('cannot name %s', (other) => {
    expect(isContentName(other)).toBe(false)
    expect(() => encoded({ timeMs: 0, id: new Uint8Array(16), floor: 0, names: [other] })).toThrow(RangeError)
  })
})
