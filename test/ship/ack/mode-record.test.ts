import { describe, expect, it } from 'vitest'

import { Catalog, checkpointBody, decodeCheckpoint, encodeCheckpoint } from '../../../bindings/catalog/index.ts'
import { ACK_MODES, ByteReader, ByteWriter, decodeMode, encodeMode, type ModeRecord } from '../../../bindings/format/index.ts'

const record = (o: Partial<ModeRecord> = {}): ModeRecord => ({
  timeMs: 1_700_000_000_000,
  id: new Uint8Array(16).fill(7),
  mode: 'quorum',
  before: 'async',
  forced: false,
  ...o,
})

function bytesOf(given: ModeRecord): Uint8Array {
  const w = new ByteWriter(64)
  encodeMode(w, given)
  return w.finish()
}

const read = (bytes: Uint8Array): ModeRecord => decodeMode(new ByteReader(bytes, 0, bytes.length))

describe('a mode record', () => {
  it('A9 comes back as it went, of every pair of modes', () => {
    for (const mode of ACK_MODES) {
      for (const before of ACK_MODES)
        for (const forced of [true, false]) expect(read(bytesOf(record({ mode, before, forced })))).toEqual(record({ mode, before, forced }))
    }
  })

  it('has the bytes of docs/format.md', () => {
    expect(Array.from(bytesOf(record({ mode: 'all', before: 'quorum', forced: true })).slice(-3))).toEqual([2, 1, 1])
    expect(bytesOf(record()).length).toBe(1 + 8 + 16 + 3)
  })

  it.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ['another version', (bytes) => bytes.with(0, 2)],
    ['an unknown mode', (bytes) => bytes.with(25, 3)],
    ['an unknown mode before', (bytes) => bytes.with(26, 9)],
    ['unknown flags', (bytes) => bytes.with(27, 2)],
    ['a byte more', (bytes) => Uint8Array.from([...bytes, 0])],
    ['a byte less', (bytes) => bytes.slice(0, -1)],
  ])('of %s is refused', (_what, change) => {
    expect(() => read(change(bytesOf(record())))).toThrow()
  })
})

describe('the fold of modes', () => {
  const folded = (...records: readonly ModeRecord[]): Catalog => {
    const catalog = new Catalog()
    records.forEach((each, i) => catalog.foldMode(i + 1, each))
    return catalog
  }

  it('keeps the mode, its LSN, and up to where the log alone proves what is committed', () => {
    expect(new Catalog().ack).toEqual({ mode: 'async', lsn: 0, floor: 0 })
    expect(folded(record()).ack).toEqual({ mode: 'quorum', lsn: 1, floor: 1 })
    expect(folded(record(), record({ mode: 'all', before: 'quorum' })).ack).toEqual({ mode: 'all', lsn: 2, floor: 1 })
    expect(folded(record(), record({ mode: 'async', before: 'quorum' })).ack).toEqual({ mode: 'async', lsn: 2, floor: 1 })
    expect(folded(record(), record({ mode: 'async', before: 'quorum', forced: true })).ack.floor).toBe(2)
    expect(folded(record(), record({ mode: 'async', before: 'quorum' }), record({ mode: 'all' })).ack).toEqual({ mode: 'all', lsn: 3, floor: 3 })
  })

  it('goes through a checkpoint; one without modes has the bytes that it always had', () => {
    const storeId = new Uint8Array(16)
    const digest = new Uint8Array(32)
    const through = (catalog: Catalog): Catalog => decodeCheckpoint(encodeCheckpoint(storeId, catalog.lsn, digest, checkpointBody(catalog))).catalog
    const plain = new Catalog()
    plain.foldAudit(1, 5)
    expect(through(plain).ack).toEqual({ mode: 'async', lsn: 0, floor: 0 })
    const modes = folded(record(), record({ mode: 'all', before: 'quorum' }))
    expect(through(modes).ack).toEqual(modes.ack)
    const later = folded(record(), record({ mode: 'async', before: 'quorum' }))
    expect(through(later).ack).toEqual(later.ack)
    // Three fields of one byte each.
    const same = new Catalog()
    same.foldAudit(1, record().timeMs)
    same.foldAudit(2, record().timeMs)
    expect(checkpointBody(later).length - checkpointBody(same).length).toBe(3)
  })
})
