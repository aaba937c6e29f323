// The payload of an optimize record.
import { describe, expect, it } from 'vitest'

import { ByteReader, ByteWriter, DecodeError, decodeOptimize, encodeOptimize, type FragmentRef, type OptimizeRecord } from '../../../bindings/format/index.ts'

const ref = (digest: string, rows: number): FragmentRef => ({
  digest: digest.repeat(64),
  bytes: 1000,
  rows,
  batchRows: 65_536,
  schemaVersion: 1,
  sorted: true,
  rangeRoot: 'ab'.repeat(32),
  footerOffset: 800,
  footerBytes: 100,
  footerHash: '01'.repeat(8),
  index: { digest: 'cd'.repeat(32), bytes: 64, gen: 2 },
  columns: [{ id: 1, bytes: 500, nullCount: 0, min: 1, max: 9 }],
})

const record: OptimizeRecord = {
  writeId: Uint8Array.from({ length: 16 }, (_, i) => i),
  timeMs: 1_700_000_000_000,
  branch: 3,
  sealLsn: 77,
  recovery: { by: 'varve:recovery', kind: 'rolledForward', sweepId: 'x', participants: [], registrations: [] },
  parts: [
    {
      tableId: 1,
      removes: [
        { lsn: 4, ordinal: 0 },
        { lsn: 300, ordinal: 2 },
      ],
      fragments: [ref('1', 10), ref('2', 5)],
      hides: [{ lsn: 0, ordinal: 1, rows: Uint32Array.of(0, 4) }],
      reindexed: [],
    },
    { tableId: 1, removes: [{ lsn: 9, ordinal: 0 }], fragments: [], hides: [], reindexed: [] },
    { tableId: 2, removes: [], fragments: [], hides: [], reindexed: [{ lsn: 8, ordinal: 1, ref: ref('3', 7) }] },
  ],
}

function bytesOf(one: OptimizeRecord): Uint8Array {
  const w = new ByteWriter(64)
  encodeOptimize(w, one)
  return w.finish()
}

describe('an optimize record', () => {
  it.each<[string, OptimizeRecord]>([
    ['sealed and recovered, of several parts', record],
    ['fused, of nothing', { writeId: record.writeId, timeMs: 1, branch: 0, sealLsn: 0, parts: [] }],
  ])('%s is read as it was written', (_, one) => {
    const bytes = bytesOf(one)
    expect(decodeOptimize(new ByteReader(bytes, 0, bytes.length))).toEqual(one)
  })

  it('of another version, cut short, or with bytes behind it is refused', () => {
    const bytes = bytesOf(record)
    const newer = bytes.slice()
    newer[0] = 9
    for (const wrong of [newer, bytes.subarray(0, bytes.length - 1), Uint8Array.of(...bytes, 0)]) {
      expect(() => decodeOptimize(new ByteReader(wrong, 0, wrong.length))).toThrow(DecodeError)
    }
  })
})
