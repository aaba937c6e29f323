// What an Intent says when it is armed and when it is sealed, its limits, and which writes a handle works on (recovery.md section 3).
import { describe, expect, it } from 'vitest'

import { Catalog } from '../../../bindings/catalog/index.ts'
import { Intents, schemaDigest } from '../../../bindings/engine/index.ts'
import { decodeIntent, encodeIntent, type Participant, type TableSchema } from '../../../bindings/format/index.ts'
import { fakeWorld } from '../../../bindings/testing/index.ts'

const owner = { writerId: '01HF7Z9AJ0AY0YR3FW14AXWQDP', epoch: '3', host: 'fake', pid: 1 }

function participant(tableId: number, files = 0): Participant {
  return {
    tableId,
    incarnation: tableId,
    name: `t${tableId}`,
    op: 'append',
    expectedVersion: '0',
    rule: 'commute',
    files: Array.from({ length: files }, (_, i) => ({ digest: i.toString(16).padStart(64, '0'), gen: 0, role: 'fragment' as const, bytes: 1, rows: 1 })),
    removes: [],
    addresses: [],
  }
}

function made(catalog: Catalog = new Catalog()): Intents {
  return new Intents(catalog, fakeWorld({ seed: 1 }), owner)
}

const staged = { kind: 'staged', mode: 'hold' } as const

describe('an Intent', () => {
  it('is armed with what is known, participants by id, and read back as it was', () => {
    const intent = made().arm({
      ...staged,
      participants: [participant(3), participant(1)],
      author: 'ada',
      message: 'm',
      holdUntil: new Date(5),
      idempotencyKey: 'k',
    })
    expect(intent).toMatchObject({
      ...staged,
      branch: 'main',
      baseLsn: '0',
      owner,
      actor: 'ada',
      message: 'm',
      holdUntil: '1970-01-01T00:00:00.005Z',
      idempotencyKey: 'k',
    })
    expect(intent.participants.map(({ tableId }) => tableId)).toEqual([1, 3])
    expect(decodeIntent(encodeIntent(intent), 'INTENT')).toEqual(intent)
  })

  it('is sealed under its own identity, with files and the digest of what was asked', () => {
    const intents = made()
    const armed = intents.arm({ ...staged, participants: [] })
    const sealed = intents.seal(armed, { participants: [participant(2, 2)], request: Uint8Array.of(1, 255) })
    expect(sealed).toEqual({ ...armed, participants: [participant(2, 2)], request: '01ff' })
    expect(intents.arm({ ...staged, participants: [] }).nonce).not.toBe(armed.nonce)
  })

  it.each<readonly [string, (intents: Intents) => unknown]>([
    ['1,025 participants', (intents) => intents.arm({ ...staged, participants: Array.from({ length: 1025 }, (_, i) => participant(i + 1)) })],
    ['65,537 files', (intents) => intents.seal(intents.arm({ ...staged, participants: [] }), { participants: [participant(1, 65_537)] })],
    ['4 MiB', (intents) => intents.seal(intents.arm({ ...staged, participants: [] }), { participants: [participant(1, 40_000)] })],
  ])('of more than %s is refused', (_name, call) => {
    expect(() => call(made())).toThrow(expect.objectContaining({ code: 'options.limit' }))
  })

  it('of 1,024 participants is not', () => {
    expect(made().arm({ ...staged, participants: Array.from({ length: 1024 }, (_, i) => participant(i + 1)) }).participants).toHaveLength(1024)
  })
})

describe('the writes that a handle works on', () => {
  it('are live from begin to end, and each end counts', () => {
    const intents = made()
    intents.begin('a')
    expect([intents.isLive('a'), intents.isLive('b'), intents.stamp]).toEqual([true, false, 0])
    intents.end('b')
    expect(intents.stamp).toBe(0)
    intents.end('a')
    intents.end('a')
    expect([intents.isLive('a'), intents.stamp]).toEqual([false, 1])
  })
})

describe('the digest of the definitions', () => {
  const schema = (tableId: number, name: string): TableSchema =>
    ({ tableId, version: 1, name, columns: [], key: [], unique: [], index: [] }) as unknown as TableSchema

  it('changes with a table, and with nothing else', () => {
    const catalog = new Catalog()
    const empty = schemaDigest(catalog)
    catalog.foldSchema(1, { timeMs: 1, writeId: new Uint8Array(16), create: [schema(1, 'a')] })
    const one = schemaDigest(catalog)
    expect(one).not.toBe(empty)
    catalog.foldEpoch(2, 1, true)
    expect(schemaDigest(catalog)).toBe(one)
    catalog.foldSchema(3, { timeMs: 1, writeId: new Uint8Array(16), create: [schema(2, 'b')] })
    expect(schemaDigest(catalog)).not.toBe(one)
  })
})
