// Outcomes of writes with an Intent: the first one in log order counts, later ones fold to nothing, and both survive a checkpoint.
import { describe, expect, it } from 'vitest'

import { Catalog, checkpointBody, decodeCheckpoint, encodeCheckpoint } from '../../../bindings/catalog/index.ts'
import type { CommitRecord, FragmentRef, Intent, SealRecord, TableSchema } from '../../../bindings/format/index.ts'
import { toHex, MAIN_BRANCH, MAIN_BRANCH_ID } from '../../../bindings/format/index.ts'

const DAY = 24 * 3600 * 1000
const id = (n: number): Uint8Array => new Uint8Array(16).fill(n)
const hex = (n: number): string => toHex(id(n))

const schema: TableSchema = { tableId: 1, version: 1, name: 'a', columns: [], key: [], unique: [], index: [] }

function ref(rows: number): FragmentRef {
  const sha = 'ab'.repeat(32)
  return {
    digest: sha,
    bytes: 100,
    rows,
    batchRows: 65_536,
    schemaVersion: 1,
    sorted: false,
    rangeRoot: sha,
    footerOffset: 10,
    footerBytes: 20,
    footerHash: '00'.repeat(8),
    columns: [],
  }
}

const intent: Intent = {
  schemaVersion: 1,
  writeId: '00000000000000000000000001',
  kind: 'staged',
  mode: 'hold',
  branch: MAIN_BRANCH,
  branchId: MAIN_BRANCH_ID,
  baseLsn: '2',
  schemaDigest: '',
  owner: { writerId: 'w', epoch: '1' },
  createdAt: '2026-01-01T00:00:00.000Z',
  participants: [],
  registrations: [],
  tombstones: [],
  nonce: '00',
}

function seal(n: number, timeMs = 20): SealRecord {
  return { timeMs, writeId: id(n), intent, changes: [{ tableId: 1, schemaVersion: 1, op: 'append', inserted: 5, updated: 0, deleted: 0, fragments: [ref(5)] }] }
}

function armed(n: number, timeMs = 20): CommitRecord {
  return {
    branch: 0,
    parent: 2,
    timeMs,
    writeId: id(n),
    isArmed: true,
    changes: [{ tableId: 1, schemaVersion: 1, op: 'append', inserted: 5, updated: 0, deleted: 0, fragments: [ref(5)] }],
  }
}

function start(): Catalog {
  const catalog = new Catalog()
  catalog.foldEpoch(1, 1, true)
  catalog.foldSchema(2, { timeMs: 10, writeId: id(0), create: [schema] })
  return catalog
}

describe('the outcome of a write', () => {
  it('is the publish when it comes first: a rollback after it folds to nothing and is counted', () => {
    const catalog = start()
    catalog.foldSeal(3, seal(7))
    expect(catalog.outcomes.pending.get(hex(7))?.lsn).toBe(3)
    expect(catalog.foldCommit(4, armed(7))).toBe(true)
    catalog.foldRollback(5, { timeMs: 21, writeId: id(7), sealLsn: 3, reason: 'late' })
    expect(catalog.outcomes.of(hex(7))).toMatchObject({ outcome: 'published', lsn: 4 })
    expect(catalog.outcomes.pending.size).toBe(0)
    expect(catalog.outcomes.superseded).toBe(1)
    expect(catalog.table(1)!.rows).toBe(5)
  })

  it('is the rollback when it comes first: a fused record of that write folds to nothing', () => {
    const catalog = start()
    catalog.foldRollback(3, { timeMs: 20, writeId: id(7), sealLsn: 0, reason: 'unsealed' })
    expect(catalog.foldCommit(4, armed(7))).toBe(false)
    expect(catalog.lsn).toBe(4)
    expect(catalog.table(1)!.rows).toBe(0)
    expect(catalog.outcomes).toMatchObject({ superseded: 1 })
  })

  it('does not come back by a seal that arrives later', () => {
    const catalog = start()
    catalog.foldRollback(3, { timeMs: 20, writeId: id(7), sealLsn: 0, reason: 'unsealed' })
    catalog.foldSeal(4, seal(7))
    expect(catalog.outcomes.pending.size).toBe(0)
  })

  it('is kept by a second seal: the newest one is what waits', () => {
    const catalog = start()
    catalog.foldSeal(3, seal(7))
    catalog.foldSeal(4, seal(7, 22))
    expect(catalog.outcomes.pending.get(hex(7))).toMatchObject({ lsn: 4, timeMs: 22 })
  })

  it('is forgotten only after 7 days of record time and 100,000 records, and the floor says so', () => {
    const catalog = start()
    catalog.foldRollback(3, { timeMs: 20, writeId: id(7), sealLsn: 0, reason: 'unsealed' })
    catalog.foldCommit(4, armed(8, 20 + 8 * DAY))
    expect(catalog.outcomes.of(hex(7))).toBeDefined()
    for (let lsn = 5; lsn <= 100_004; lsn++) catalog.foldEpoch(lsn, 1, false)
    expect(catalog.outcomes.of(hex(7))).toBeUndefined()
    expect(catalog.outcomes.floor).toBe(3)
    expect(catalog.outcomes.of(hex(8))).toBeDefined()
  })

  it('survives a checkpoint, byte for byte, pending seals included', () => {
    const catalog = start()
    catalog.foldSeal(3, seal(7))
    catalog.foldCommit(4, armed(8))
    catalog.foldRollback(5, { timeMs: 22, writeId: id(9), sealLsn: 0, reason: 'x' })
    catalog.foldRollback(6, { timeMs: 22, writeId: id(9), sealLsn: 0, reason: 'x' })
    const read = decodeCheckpoint(encodeCheckpoint(id(1), 6, new Uint8Array(32), checkpointBody(catalog))).catalog
    expect(toHex(checkpointBody(read))).toBe(toHex(checkpointBody(catalog)))
    expect(read.outcomes.pending.get(hex(7))).toEqual(catalog.outcomes.pending.get(hex(7)))
    expect(read.outcomes).toMatchObject({ superseded: 1, floor: 0 })
  })
})
