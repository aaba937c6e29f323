// Intents and the records that decide about them: equal values are equal bytes, and what does not check is refused by name.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { CorruptIntentError, IntentVersionError } from '../../../bindings/errors.ts'
import {
  ByteReader,
  ByteWriter,
  canonicalJson,
  decodeAudit,
  decodeCommit,
  DecodeError,
  decodeFragmentRef,
  decodeIntent,
  decodePublish,
  decodeRollback,
  decodeSeal,
  encodeAudit,
  encodeCommit,
  encodeFragmentRef,
  encodeIntent,
  encodePublish,
  encodeRollback,
  encodeSeal,
  fragmentName,
  type FragmentRef,
  type Intent,
  MAIN_BRANCH,
  MAIN_BRANCH_ID,
  publishedCommit,
  type PublishRecord,
  type SealRecord,
} from '../../../bindings/format/index.ts'

const SHA = 'cd'.repeat(32)
const id = new Uint8Array(16).fill(5)

const intent: Intent = {
  schemaVersion: 1,
  writeId: '01JABCDEFGHJKMNPQRSTVWXYZ0',
  kind: 'staged',
  mode: 'hold',
  branch: MAIN_BRANCH,
  branchId: MAIN_BRANCH_ID,
  baseLsn: '12',
  schemaDigest: SHA,
  owner: { writerId: '01JABCDEFGHJKMNPQRSTVWXYZ1', epoch: '3', host: 'a', pid: 4 },
  message: 'nightly load',
  createdAt: '2026-01-01T00:00:00.000Z',
  participants: [
    {
      tableId: 1,
      incarnation: 2,
      name: 'flights',
      op: 'upsert',
      expectedVersion: '11',
      rule: 'keys',
      keys: { exact: SHA, bytes: 44 },
      files: [{ digest: SHA, gen: 0, role: 'fragment', bytes: 100, rows: 5, fresh: true }],
      removes: [],
      addresses: [{ fragment: '4.0', deletions: '2' }],
    },
  ],
  registrations: [],
  tombstones: [],
  nonce: '00ff',
}

const ref = (gen?: number): FragmentRef => ({
  digest: SHA,
  bytes: 100,
  ...(gen === undefined ? {} : { gen }),
  rows: 5,
  batchRows: 65_536,
  schemaVersion: 1,
  sorted: true,
  rangeRoot: SHA,
  footerOffset: 10,
  footerBytes: 20,
  footerHash: '11'.repeat(8),
  index: { digest: SHA, bytes: 7, ...(gen === undefined ? {} : { gen: gen + 1 }) },
  columns: [],
})

const change = { tableId: 1, schemaVersion: 1, op: 'upsert' as const, inserted: 5, updated: 0, deleted: 0 }
const seal: SealRecord = { timeMs: 20, writeId: id, intent, changes: [{ ...change, fragments: [ref()] }] }

function bytesOf<T>(encode: (w: ByteWriter, value: T) => void, value: T): Uint8Array {
  const w = new ByteWriter()
  encode(w, value)
  return w.finish()
}

const reader = (bytes: Uint8Array): ByteReader => new ByteReader(bytes, 0, bytes.length)

describe('an intent', () => {
  it('comes back as it was, whatever the order of its keys', () => {
    const bytes = encodeIntent(intent)
    expect(decodeIntent(bytes, 'INTENT')).toEqual(intent)
    const turned = Object.fromEntries(Object.entries(intent).reverse()) as unknown as Intent
    expect(encodeIntent(turned)).toEqual(bytes)
  })

  it('is refused with the path when any one byte is another', () => {
    const bytes = encodeIntent(intent)
    for (let at = 0; at < bytes.length; at++) {
      const bad = bytes.slice()
      bad[at]! ^= 1
      let caught: unknown
      try {
        decodeIntent(bad, 'staging/x/INTENT')
      } catch (error) {
        caught = error
      }
      expect(caught, `byte ${at}`).toSatisfy((error) => error instanceof CorruptIntentError || error instanceof IntentVersionError)
      expect((caught as Error).message).toContain('staging/x/INTENT')
    }
  })

  it('is refused at every length but its own', () => {
    const bytes = encodeIntent(intent)
    for (let end = 0; end < bytes.length; end++) expect(() => decodeIntent(bytes.subarray(0, end), 'INTENT')).toThrow(CorruptIntentError)
  })

  it('of a newer version is told apart from a damaged one', () => {
    const newer = new TextEncoder().encode(JSON.stringify({ ...intent, schemaVersion: 2 }))
    expect(() => decodeIntent(newer, 'INTENT')).toThrow(IntentVersionError)
  })

  it.each([
    ['a writeId that is no ULID', { writeId: '../../etc' }],
    ['an unknown kind', { kind: 'party' }],
    ['no participants', { participants: undefined }],
    ['a participant without a version', { participants: [{ ...intent.participants[0]!, expectedVersion: 'x' }] }],
    ['a file that is no digest', { participants: [{ ...intent.participants[0]!, files: [{ digest: '../x', gen: 0, role: 'fragment', bytes: 1, rows: 1 }] }] }],
    ['no owner', { owner: {} }],
  ])('with a good check and %s is refused', (_what, parts) => {
    expect(() => decodeIntent(encodeIntent({ ...intent, ...parts } as unknown as Intent), 'INTENT')).toThrow(CorruptIntentError)
  })

  it('has canonical JSON that parses to the same value', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        (value) => JSON.stringify(JSON.parse(canonicalJson(value))) === JSON.stringify(JSON.parse(canonicalJson(JSON.parse(canonicalJson(value))))),
      ),
    )
  })
})

describe('records that decide', () => {
  const publish: PublishRecord = {
    sealLsn: 9,
    generations: [{ digest: SHA, ext: 'arrow', gen: 2 }],
    recovery: { by: 'varve:recovery', kind: 'rolledForward', sweepId: 's', participants: [], registrations: [] },
    commit: { branch: 0, parent: 8, timeMs: 30, writeId: id, message: 'm', isArmed: true, changes: [{ ...change, hideRows: Uint32Array.of(1, 4) }] },
  }

  it('come back as they were', () => {
    expect(decodeSeal(reader(bytesOf(encodeSeal, seal)), 9)).toEqual(seal)
    expect(decodePublish(reader(bytesOf(encodePublish, publish)))).toEqual(publish)
    const rollback = { timeMs: 4, writeId: id, sealLsn: 0, reason: 'unsealed' }
    expect(decodeRollback(reader(bytesOf(encodeRollback, rollback)))).toEqual(rollback)
    const audit = { timeMs: 4, id, facts: { kind: 'repair', by: 'varve:repair', tables: ['a'], files: ['x'] } }
    expect(decodeAudit(reader(bytesOf(encodeAudit, audit)))).toEqual(audit)
    expect(decodeCommit(reader(bytesOf(encodeCommit, publish.commit)))).toEqual(publish.commit)
  })

  it('make a commit of a seal and its publish: the fragments of the seal, under their generations', () => {
    const commit = publishedCommit(
      seal,
      decodePublish(reader(bytesOf(encodePublish, { ...publish, commit: { ...publish.commit, changes: [{ ...change, fragments: [ref(2)] }] } }))),
    )
    expect(commit.changes[0]!.fragments).toEqual([{ ...ref(), gen: 2 }])
  })

  it('refuse a publish that leaves out a table whose fragments were sealed', () => {
    expect(() => publishedCommit(seal, { ...publish, commit: { ...publish.commit, changes: [] } })).toThrow(DecodeError)
  })

  it('throw DecodeError or a typed refusal for every truncation', () => {
    for (const [bytes, decode] of [
      [bytesOf(encodePublish, publish), (r: ByteReader) => decodePublish(r)],
      [bytesOf(encodeRollback, { timeMs: 4, writeId: id, sealLsn: 0, reason: 'unsealed' }), (r: ByteReader) => decodeRollback(r)],
      [bytesOf(encodeSeal, seal), (r: ByteReader) => decodeSeal(r, 1)],
    ] as const) {
      for (let end = 0; end < bytes.length; end++) expect(() => decode(reader(bytes.subarray(0, end)))).toThrow()
    }
  })
})

describe('a fragment reference', () => {
  it.each([[undefined], [1], [300]])('keeps generation %s of file and index', (gen) => {
    expect(decodeFragmentRef(reader(bytesOf(encodeFragmentRef, ref(gen))))).toEqual(ref(gen))
  })

  it('names the file by its generation', () => {
    expect(fragmentName(SHA)).toBe(`fragments/cd/${SHA}.arrow`)
    expect(fragmentName(SHA, 3)).toBe(`fragments/cd/${SHA}.g3.arrow`)
  })
})
