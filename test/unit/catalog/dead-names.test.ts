// Names that vacuums have made dead, in the fold and in checkpoints.
import { describe, expect, it } from 'vitest'

import { Catalog, checkpointBody, decodeCheckpoint, encodeCheckpoint, TERM_MS, TERM_RECORDS } from '../../../bindings/catalog/index.ts'

const ID = new Uint8Array(16)
const nameOf = (n: number): string => `fragments/${String(n).padStart(2, '0')}/${String(n).padStart(2, '0').repeat(32)}.arrow`

function checkpointed(catalog: Catalog): Catalog {
  return decodeCheckpoint(encodeCheckpoint(ID, catalog.lsn, new Uint8Array(32), checkpointBody(catalog))).catalog
}

describe('dead names', () => {
  it('are those of every vacuum record, and survive a checkpoint byte for byte', () => {
    const catalog = new Catalog()
    catalog.foldVacuum(1, { timeMs: 10, id: ID, floor: 0, names: [nameOf(1), nameOf(2)] })
    catalog.foldVacuum(2, { timeMs: 20, id: ID, floor: 1, names: [nameOf(2), nameOf(3)] })
    expect([1, 2, 3, 4].map((n) => catalog.dead.has(nameOf(n)))).toEqual([true, true, true, false])
    expect(catalog.dead.batchOf(nameOf(2))?.lsn).toBe(2)
    const again = checkpointed(catalog)
    expect(again.dead.batches).toEqual(catalog.dead.batches)
    expect(again.fragmentFloor).toBe(1)
    expect(checkpointBody(again)).toEqual(checkpointBody(catalog))
  })

  it('keep the fragment floor where it is when a later record states a lower one', () => {
    const catalog = new Catalog()
    catalog.foldVacuum(1, { timeMs: 10, id: ID, floor: 0, names: [] })
    catalog.foldAudit(2, 11)
    catalog.foldVacuum(3, { timeMs: 12, id: ID, floor: 2, names: [] })
    catalog.foldVacuum(4, { timeMs: 13, id: ID, floor: 1, names: [] })
    expect(catalog.fragmentFloor).toBe(2)
    expect(catalog.dead.batches).toEqual([])
  })

  it.each([
    ['7 days but not the records', TERM_MS + 1, 10, true],
    ['the records but not 7 days', TERM_MS, TERM_RECORDS + 1, true],
    ['both', TERM_MS + 1, TERM_RECORDS + 1, false],
  ])('when %s have passed: dead = %o', (_what, ms, records, isDead) => {
    const catalog = new Catalog()
    catalog.foldVacuum(1, { timeMs: 0, id: ID, floor: 0, names: [nameOf(1)] })
    for (let lsn = 2; lsn <= 1 + records; lsn++) catalog.foldAudit(lsn, lsn === 1 + records ? ms : 0)
    expect(catalog.dead.has(nameOf(1))).toBe(isDead)
  })

  it('that were dead when somebody looked stay so for him', () => {
    const catalog = new Catalog()
    catalog.foldVacuum(1, { timeMs: 0, id: ID, floor: 0, names: [nameOf(1)] })
    const { batches } = catalog.dead
    for (let lsn = 2; lsn <= TERM_RECORDS + 2; lsn++) catalog.foldAudit(lsn, TERM_MS + 1)
    expect(catalog.dead.batches).toEqual([])
    expect(batches[0]!.names.has(nameOf(1))).toBe(true)
  })
})
