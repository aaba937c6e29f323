import { describe, expect, it } from 'vitest'

import type { Intent, Participant } from '../../../bindings/format/index.ts'
import { classify, classifyParticipant, type Observed, type ObservedParticipant } from '../../../bindings/recovery/index.ts'

const ID = '01JD0000000000000000000001'
const participant: Participant = {
  tableId: 7,
  incarnation: 3,
  name: 'flights',
  op: 'append',
  expectedVersion: '10',
  rule: 'commute',
  files: [],
  removes: [],
  addresses: [],
}
const intent: Intent = {
  schemaVersion: 1,
  writeId: ID,
  kind: 'load',
  mode: 'auto',
  branch: 'main',
  branchId: '00000000000000000000000000',
  baseLsn: '10',
  schemaDigest: 'd',
  owner: { writerId: 'w', epoch: '1' },
  createdAt: '2026-01-01T00:00:00.000Z',
  participants: [participant],
  registrations: [],
  tombstones: [],
  nonce: '00000000000000000000000000000000',
}
const table: ObservedParticipant = { tableId: 7, version: '10', incarnation: 3, files: [], moved: [], keyed: true, overlap: [] }
const path = `staging/${ID}/INTENT`
const armed: Observed = {
  writeId: ID,
  file: { state: 'ok', path },
  sealed: false,
  outcome: undefined,
  forgotten: false,
  branchLive: true,
  owner: 'dead',
  schema: 'same',
  expired: false,
  givenUp: false,
  participants: [table],
}
const sealed: Observed = { ...armed, sealed: true }
const missing = { name: 'f', state: 'missing' } as const
const corrupt = { name: 'g', state: 'corrupt', detail: 'digest aa' } as const
const bad = { state: 'corrupt', path, cause: 'not JSON' } as const
const newer = { state: 'newer', path, cause: 'schemaVersion 2' } as const

describe('a participant is classified by the first row that matches', () => {
  const cases: readonly (readonly [string, string, Partial<ObservedParticipant>, Partial<Participant>])[] = [
    ['p1', 'Regressed', { version: '9' }, {}],
    ['p1', 'Regressed', { version: '9', incarnation: 4, files: [missing] }, {}],
    ['p2', 'Gone', { incarnation: 4, files: [missing] }, {}],
    ['p2', 'Gone', { version: undefined, incarnation: undefined }, {}],
    ['p3', 'FileMissing', { files: [corrupt, missing] }, {}],
    ['p3', 'FileMissing', { version: '11', files: [missing] }, { rule: 'exact' }],
    ['p4', 'FileCorrupt', { files: [{ name: 'a', state: 'present' }, corrupt] }, {}],
    ['p5', 'Untouched', {}, { rule: 'exact' }],
    // An optimize moves rows and leaves the version as it is.
    ["p5'", 'Rebase', { moved: ['4.0'] }, {}],
    ["p5'", 'Conflicting', { moved: ['4.0'], keyed: false }, {}],
    ["p5'", 'Rebase', { moved: ['4.0'], keyed: false }, { op: 'compact' }],
    ["p5'", 'Rebase', { version: '11', moved: ['4.0'] }, {}],
    ["p5'", 'Conflicting', { version: '11', moved: ['4.0'], keyed: false }, {}],
    ["p5'", 'Rebase', { version: '11', moved: ['4.0'], overlap: ['1'] }, { rule: 'keys' }],
    ['p6', 'Compatible', { version: '11' }, {}],
    ['p6', 'Compatible', { version: '11', overlap: ['1'] }, {}],
    ['p7', 'Compatible', { version: '11' }, { rule: 'keys' }],
    ['p8', 'Conflicting', { version: '11', overlap: ['1'] }, { rule: 'keys' }],
    ['p9', 'Conflicting', { version: '11' }, { rule: 'exact' }],
  ]
  it.each(cases)('%s %s: %j %j', (rule, wanted, seen, part) => {
    expect(classifyParticipant({ ...table, ...seen }, { ...participant, ...part })).toMatchObject({ rule, class: wanted })
  })
})

describe('a write is decided by the first row that matches', () => {
  const later = { ...table, version: '11' }
  const exact = { ...intent, participants: [{ ...participant, rule: 'exact' }] } as Intent
  const hold: Intent = { ...intent, mode: 'hold', holdUntil: '2026-02-01T00:00:00.000Z' }
  const cases: readonly (readonly [string, string, string | undefined, Observed, Intent | undefined])[] = [
    ['d1', 'refuse', 'CorruptIntentError', { ...armed, file: bad }, undefined],
    ['d1', 'refuse', 'IntentVersionError', { ...armed, file: newer, owner: 'alive' }, undefined],
    ['d1', 'refuse', 'IntentMismatchError', { ...sealed, file: { ...bad, state: 'mismatch' } }, intent],
    ['d2', 'retire', undefined, { ...armed, outcome: 'published' }, intent],
    ['d2', 'retire', undefined, { ...armed, outcome: 'rolledBack', file: bad }, undefined],
    ['d2', 'retire', undefined, { ...armed, outcome: 'rolledBack', forgotten: true, branchLive: false, participants: [{ ...table, version: '1' }] }, intent],
    ['d2', 'retire', undefined, { ...armed, file: { state: 'absent', path } }, undefined],
    ["d2'", 'retire', undefined, { ...armed, forgotten: true, owner: 'alive', participants: [{ ...table, version: '1' }] }, intent],
    ['d3', 'refuse', 'InvariantError', { ...armed, owner: 'alive', participants: [{ ...table, version: '9' }] }, intent],
    ['d3', 'refuse', 'InvariantError', { ...sealed, branchLive: false, participants: [{ ...table, version: '9' }] }, hold],
    ["d3'", 'rollback', 'given-up', { ...armed, givenUp: true, owner: 'alive', participants: [{ ...table, version: '9' }] }, intent],
    [
      "d3'",
      'rollback',
      'given-up',
      { ...sealed, givenUp: true, participants: [table, { ...table, version: '9' }] },
      { ...hold, participants: [participant, participant] },
    ],
    ['d4', 'discard', 'branch-deleted', { ...armed, givenUp: true, branchLive: false, participants: [{ ...table, version: '9' }] }, intent],
    ['d4', 'discard', 'branch-deleted', { ...armed, branchLive: false, owner: 'alive' }, intent],
    ['d4', 'discard', 'branch-deleted', { ...sealed, branchLive: false, participants: [{ ...table, files: [missing] }] }, hold],
    ['d5', 'wait', undefined, { ...armed, owner: 'alive' }, intent],
    ['d5', 'wait', undefined, { ...armed, owner: 'alive', participants: [{ ...table, incarnation: 4 }] }, hold],
    ['d5', 'wait', undefined, { ...armed, owner: 'unknown' }, intent],
    ['d6', 'rollback', 'unsealed', armed, intent],
    ['d6', 'rollback', 'unsealed', armed, hold],
    ['d7', 'rollback', 'damaged', { ...sealed, participants: [{ ...table, files: [missing] }] }, intent],
    ['d7', 'rollback', 'damaged', { ...sealed, schema: 'incompatible', participants: [{ ...later, files: [corrupt] }] }, exact],
    ['d8', 'refuse', 'DamagedStagedWriteError', { ...sealed, expired: true, participants: [{ ...table, files: [corrupt] }] }, hold],
    ['d9', 'rollback', 'schema', { ...sealed, schema: 'incompatible', participants: [later] }, exact],
    ['d9', 'rollback', 'schema', { ...sealed, schema: 'compatible' }, { ...intent, kind: 'schema' }],
    ['d10', 'rollback', 'conflict', { ...sealed, participants: [later] }, exact],
    ['d10', 'rollback', 'conflict', { ...sealed, participants: [{ ...table, incarnation: 4 }] }, intent],
    ["d10'", 'rebase', undefined, { ...sealed, owner: 'alive', participants: [{ ...later, moved: ['4.0'] }] }, intent],
    ["d10'", 'rollback', 'moved', { ...sealed, owner: 'unknown', participants: [{ ...later, moved: ['4.0'] }] }, intent],
    ["d10'", 'rollback', 'moved', { ...sealed, participants: [{ ...later, moved: ['4.0'] }] }, intent],
    ['d10', 'rollback', 'conflict', { ...sealed, participants: [{ ...later, moved: ['4.0'], keyed: false }] }, intent],
    ['d11', 'rollForward', undefined, sealed, intent],
    ['d11', 'rollForward', undefined, { ...sealed, schema: 'compatible', participants: [later] }, intent],
    ['d11', 'rollForward', undefined, { ...sealed, expired: true, participants: [] }, { ...intent, participants: [] }],
    ['d12', 'keep', undefined, sealed, hold],
    ['d12', 'keep', undefined, { ...sealed, schema: 'incompatible', participants: [{ ...later, incarnation: 9 }] }, hold],
    ['d12', 'rollback', 'expired', { ...sealed, expired: true }, hold],
  ]
  it.each(cases)('%s %s %s', (rule, kind, reason, seen, given) => {
    const decision = classify(seen, given)
    expect(decision).toMatchObject({ rule, kind, writeId: ID })
    expect(decision.reason).toBe(reason)
    expect(decision.evidence.length).toBeGreaterThan(0)
    expect(JSON.parse(JSON.stringify(decision)), 'plain data').toEqual(decision)
  })

  it("d1': an unreadable INTENT is shadowed by the seal, which decides", () => {
    for (const file of [bad, newer]) {
      const decision = classify({ ...sealed, file }, intent)
      expect(decision).toMatchObject({ kind: 'rollForward', shadowed: true })
      expect(decision.evidence[0]).toEqual({ rule: "d1'", what: file.cause, files: [path] })
    }
    expect(classify({ ...sealed, file: bad }, hold)).toMatchObject({ kind: 'keep', shadowed: true })
    expect(classify(sealed, intent).shadowed).toBeUndefined()
  })

  it('all or nothing: one participant that cannot go forward takes the whole write back', () => {
    const two: Intent = { ...intent, participants: [participant, { ...participant, tableId: 8, name: 'airports', rule: 'exact' }] }
    const seen = { ...sealed, participants: [later, { ...later, tableId: 8 }] }
    expect(classify(seen, two)).toMatchObject({ kind: 'rollback', reason: 'conflict' })
    expect(classify(seen, two).evidence.map(({ rule, table: name }) => [rule, name])).toEqual([
      ['p6', 'flights'],
      ['p9', 'airports'],
      ['d10', undefined],
    ])
  })
})
