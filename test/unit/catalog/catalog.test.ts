// The pure fold: what each record does to a catalog, and checkpoints as bytes.

import { describe, expect, it } from 'vitest'

import { Catalog, checkpointBody, checkpointName, decodeCheckpoint, encodeCheckpoint } from '../../../bindings/catalog/index.ts'
import { type CommitRecord, DecodeError, type FragmentRef, toHex, type TableChange, type TableSchema } from '../../../bindings/format/index.ts'
import { InvariantError } from '../../../bindings/index.ts'

const schema = (tableId: number, name: string): TableSchema => ({
  tableId,
  version: 1,
  name,
  columns: [{ id: 1, name: 'id', type: { kind: 'int', bits: 32, signed: true }, nullable: false }],
  key: [1],
  unique: [],
  index: [],
})
const ref = (digit: string, rows: number): FragmentRef => ({
  digest: digit.repeat(64),
  bytes: 1000,
  rows,
  batchRows: 65_536,
  schemaVersion: 1,
  sorted: true,
  rangeRoot: '0'.repeat(64),
  footerOffset: 800,
  footerBytes: 100,
  footerHash: '0'.repeat(16),
  columns: [{ id: 1, bytes: 400, nullCount: 0, min: 1, max: rows }],
})
const inline = (rows: number): NonNullable<TableChange['inline']> => ({ rows, bytes: new Uint8Array(rows * 4), start: 0, end: rows * 4 })
const change = (o: Partial<TableChange>): TableChange => ({ tableId: 1, schemaVersion: 1, op: 'upsert', inserted: 0, updated: 0, deleted: 0, ...o })
const commit = (timeMs: number, changes: readonly TableChange[], o: Partial<CommitRecord> = {}): CommitRecord => ({
  branch: 0,
  parent: 0,
  timeMs,
  writeId: new Uint8Array(16).fill(timeMs & 255),
  changes,
  ...o,
})

function start(): Catalog {
  const catalog = new Catalog()
  catalog.foldEpoch(1, 1, true)
  catalog.foldSchema(2, { timeMs: 10, writeId: new Uint8Array(16), create: [schema(1, 'a'), schema(2, 'b')] })
  return catalog
}

describe('the fold', () => {
  it('counts rows, numbers inline rows and notes from where they must be read again', () => {
    const catalog = start()
    catalog.foldCommit(3, commit(20, [change({ inserted: 3, inline: inline(3) })]))
    catalog.foldCommit(
      4,
      commit(21, [change({ inserted: 1, updated: 1, inline: inline(2), hideRows: [0] }), change({ tableId: 2, inserted: 5, inline: inline(5) })]),
    )
    expect(catalog.table(1)).toMatchObject({ rows: 4, nextRow: 5, inlineFrom: 3, lastLsn: 4, fragments: [] })
    expect(catalog.byName('b')).toMatchObject({ id: 2, rows: 5, inlineFrom: 4 })
    expect(catalog.replayFrom).toBe(2)
    catalog.foldFlush(5, {
      writeId: new Uint8Array(16).fill(5),
      branch: 0,
      tableId: 1,
      timeMs: 22,
      uptoLsn: 4,
      uptoRow: 5,
      fragments: [ref('a', 4)],
      hides: [],
      deletionVectors: [],
    })
    expect(catalog.table(1)).toMatchObject({ rows: 4, inlineFrom: 0, flushedRow: 5, flushedLsn: 4 })
    expect(catalog.replayFrom).toBe(3)
  })

  it('keeps reading inline rows again that came while a flush ran', () => {
    const catalog = start()
    catalog.foldCommit(3, commit(20, [change({ inserted: 3, inline: inline(3) })]))
    catalog.foldCommit(4, commit(21, [change({ inserted: 1, inline: inline(1) })]))
    catalog.foldFlush(5, {
      writeId: new Uint8Array(16).fill(5),
      branch: 0,
      tableId: 1,
      timeMs: 22,
      uptoLsn: 3,
      uptoRow: 3,
      fragments: [ref('a', 3)],
      hides: [],
      deletionVectors: [],
    })
    expect(catalog.table(1)).toMatchObject({ inlineFrom: 4, flushedRow: 3, nextRow: 4 })
    expect(catalog.replayFrom).toBe(3)
  })

  it('hides rows of fragments by position, and a vector takes the place of all hides before it', () => {
    const catalog = start()
    catalog.foldCommit(3, commit(20, [change({ inserted: 9, fragments: [ref('a', 10)], hides: [{ lsn: 0, ordinal: 0, rows: Uint32Array.of(9) }] })]))
    catalog.foldCommit(4, commit(21, [change({ op: 'delete', deleted: 2, hides: [{ lsn: 3, ordinal: 0, rows: Uint32Array.of(0, 4) }] })]))
    expect(catalog.table(1)).toMatchObject({ rows: 7 })
    expect(catalog.table(1)!.fragments[0]).toMatchObject({ lsn: 3, ordinal: 0, hiddenCount: 3, hidden: Uint8Array.of(0b0001_0001, 0b10) })
    const vector = { lsn: 3, ordinal: 0, digest: 'f'.repeat(64), bytes: 40, hidden: 3 }
    catalog.foldFlush(5, {
      writeId: new Uint8Array(16).fill(5),
      branch: 0,
      tableId: 1,
      timeMs: 22,
      uptoLsn: 4,
      uptoRow: 0,
      fragments: [],
      hides: [],
      deletionVectors: [vector],
    })
    expect(catalog.table(1)!.fragments[0]).toMatchObject({ vector, hidden: undefined, hiddenCount: 0 })
  })

  it('takes everything older out of a replaced table', () => {
    const catalog = start()
    catalog.foldCommit(3, commit(20, [change({ inserted: 10, fragments: [ref('a', 10)] })]))
    catalog.foldCommit(4, commit(21, [change({ inserted: 2, inline: inline(2) })]))
    catalog.foldCommit(5, commit(22, [change({ op: 'replace', inserted: 1, deleted: 12, inline: inline(1) })]))
    expect(catalog.table(1)).toMatchObject({ rows: 1, fragments: [], flushedRow: 2, nextRow: 3, inlineFrom: 5 })
  })

  it.each<[string, (catalog: Catalog) => void]>([
    ['a gap in the LSNs', (catalog) => catalog.foldCommit(4, commit(20, []))],
    ['an LSN twice', (catalog) => catalog.foldCommit(2, commit(20, []))],
    ['a table that is not there', (catalog) => catalog.foldCommit(3, commit(20, [change({ tableId: 9 })]))],
    ['a table id twice', (catalog) => catalog.foldSchema(3, { timeMs: 20, writeId: new Uint8Array(16), create: [schema(2, 'c')] })],
    [
      'a hide of a fragment that is not there',
      (catalog) => catalog.foldCommit(3, commit(20, [change({ hides: [{ lsn: 2, ordinal: 0, rows: Uint32Array.of(0) }] })])),
    ],
    [
      'a hide of a row beyond its fragment',
      (catalog) => catalog.foldCommit(3, commit(20, [change({ fragments: [ref('a', 10)], hides: [{ lsn: 0, ordinal: 0, rows: Uint32Array.of(10) }] })])),
    ],
    [
      'a row hidden twice',
      (catalog) => {
        catalog.foldCommit(3, commit(20, [change({ fragments: [ref('a', 10)], hides: [{ lsn: 0, ordinal: 0, rows: Uint32Array.of(1) }] })]))
        catalog.foldCommit(4, commit(21, [change({ hides: [{ lsn: 3, ordinal: 0, rows: Uint32Array.of(1) }] })]))
      },
    ],
    [
      'a flush of a table that is not there',
      (catalog) =>
        catalog.foldFlush(3, {
          writeId: new Uint8Array(16).fill(3),
          branch: 0,
          tableId: 7,
          timeMs: 20,
          uptoLsn: 2,
          uptoRow: 0,
          fragments: [],
          hides: [],
          deletionVectors: [],
        }),
    ],
  ])('refuses %s', (_what, fold) => {
    expect(() => fold(start())).toThrow(InvariantError)
  })

  it('lets times never go back, and epochs only up', () => {
    const catalog = start()
    catalog.foldCommit(3, commit(5, []))
    expect(catalog.timeMs).toBe(10)
    catalog.foldEpoch(4, 7, true)
    catalog.foldEpoch(5, 9, false)
    expect(catalog.fence).toBe(7)
  })

  it('forgets an idempotency key only when both its windows are over', () => {
    const DAY = 24 * 3600 * 1000
    const catalog = start()
    const key = (name: string): Partial<CommitRecord> => ({ idempotency: { key: name, request: new Uint8Array(32) } })
    catalog.foldCommit(3, commit(20, [], key('old')))
    catalog.foldCommit(4, commit(20 + 8 * DAY, [], key('new')))
    expect([...catalog.keys.keys()]).toEqual(['old', 'new']) // 8 days, but one commit
    for (let lsn = 5; lsn <= 100_003; lsn++) catalog.foldEpoch(lsn, 1, false)
    catalog.foldCommit(100_004, commit(20 + 8 * DAY, []))
    expect([...catalog.keys.keys()]).toEqual(['new'])
    expect(catalog.keys.get('new')).toMatchObject({ lsn: 4, timeMs: 20 + 8 * DAY })
  })
})

describe('a checkpoint', () => {
  const full = (): Catalog => {
    const catalog = start()
    catalog.foldCommit(
      3,
      commit(20, [change({ inserted: 9, fragments: [ref('a', 10), ref('b', 5)], hides: [{ lsn: 0, ordinal: 1, rows: Uint32Array.of(0, 4) }] })], {
        idempotency: { key: 'k', request: new Uint8Array(32).fill(3) },
      }),
    )
    catalog.foldCommit(4, commit(21, [change({ tableId: 2, inserted: 2, inline: inline(2) })]))
    return catalog
  }
  const storeId = new Uint8Array(16).fill(7)
  const digest = new Uint8Array(32).fill(9)

  it('comes back as it was, and folds on to the same bytes', () => {
    const catalog = full()
    const decoded = decodeCheckpoint(encodeCheckpoint(storeId, catalog.lsn, digest, checkpointBody(catalog)))
    expect(decoded).toMatchObject({ storeId, lsn: 4, digest })
    expect(toHex(checkpointBody(decoded.catalog))).toBe(toHex(checkpointBody(catalog)))
    for (const each of [catalog, decoded.catalog]) {
      each.foldCommit(5, commit(30, [change({ op: 'delete', deleted: 1, hides: [{ lsn: 3, ordinal: 1, rows: Uint32Array.of(2) }] })]))
      each.foldFlush(6, {
        writeId: new Uint8Array(16).fill(6),
        branch: 0,
        tableId: 2,
        timeMs: 31,
        uptoLsn: 4,
        uptoRow: 2,
        fragments: [ref('c', 2)],
        hides: [],
        deletionVectors: [],
      })
    }
    expect(toHex(checkpointBody(decoded.catalog))).toBe(toHex(checkpointBody(catalog)))
    expect(checkpointName(4)).toBe('checkpoints/00000000000000000004.ckpt')
  })

  it('does not depend on the order in which its maps were filled', () => {
    const catalog = full()
    const shuffled = full()
    const entries = [...shuffled.tables].reverse()
    shuffled.tables.clear()
    for (const [id, table] of entries) shuffled.tables.set(id, table)
    expect(toHex(checkpointBody(shuffled))).toBe(toHex(checkpointBody(catalog)))
  })

  it('is not believed with any one bit flipped, cut at any byte, or longer', () => {
    const bytes = encodeCheckpoint(storeId, 4, digest, checkpointBody(full()))
    for (let at = 0; at < bytes.length; at++) {
      const broken = bytes.slice()
      broken[at]! ^= 1 << (at & 7)
      expect(() => decodeCheckpoint(broken), `byte ${at}`).toThrow(DecodeError)
      expect(() => decodeCheckpoint(bytes.subarray(0, at)), `cut at ${at}`).toThrow(DecodeError)
    }
    expect(() => decodeCheckpoint(Uint8Array.of(...bytes, 0))).toThrow(DecodeError)
  })
})
