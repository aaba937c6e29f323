// Unique constraints against a plain model: random writes of every kind on a table with a key and two constraints; each write is taken or refused as the model says,
// and the rows are the model's, among rows in memory, in fragments, after a reopen, from staged writes and transactions.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { DuplicateKeyError, eq, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const rows = table(
  'rows',
  { id: t.int32(), mail: t.utf8().nullable(), city: t.utf8().dictionary().nullable(), seat: t.int16().nullable() },
  { key: ['id'], unique: [['mail'], ['city', 'seat']] },
)
type Row = typeof rows.Row
const bare = table('bare', { mail: t.utf8().nullable(), n: t.int32() }, { unique: [['mail']] })

/** The rows that a table holds; what a write makes of them, or undefined: it breaks a constraint. */
type Model = ReadonlyMap<number, Row>

function tuplesOf({ mail, city, seat }: Row): string[] {
  return [...(mail === null ? [] : [`m${mail}`]), ...(city === null || seat === null ? [] : [`s${city.length}:${city}${seat}`])]
}

function isSound(model: Model): boolean {
  const seen = new Set<string>()
  for (const row of model.values()) {
    for (const tuple of tuplesOf(row)) {
      if (seen.has(tuple)) return false
      seen.add(tuple)
    }
  }
  return true
}

type Op =
  | { readonly op: 'append' | 'upsert' | 'replace'; readonly rows: readonly Row[] }
  | { readonly op: 'update'; readonly rows: readonly { readonly id: number; readonly mail: string | null }[] }
  | { readonly op: 'delete'; readonly ids: readonly number[] }

/** In the middle of a transaction or a staged write: constraints are those of the rows that stay in the end, keys those of each call. */
function inside(model: Model, step: Op): Model | undefined {
  const next = new Map(step.op === 'replace' ? [] : model)
  if (step.op === 'delete') {
    for (const id of step.ids) next.delete(id)
  } else if (step.op === 'update') {
    for (const { id, mail } of step.rows) if (next.has(id)) next.set(id, { ...next.get(id)!, mail })
  } else {
    for (const row of step.rows) {
      if (step.op !== 'upsert' && next.has(row.id)) return undefined
      next.set(row.id, row)
    }
  }
  return next
}

function after(model: Model, step: Op): Model | undefined {
  const next = inside(model, step)
  return next === undefined || isSound(next) ? next : undefined
}

const IDS = 12
const row: fc.Arbitrary<Row> = fc.record({
  id: fc.nat(IDS - 1),
  mail: fc.constantFrom(null, 'a', 'b', 'c', 'd', 'e'),
  city: fc.constantFrom(null, 'Bern', 'Basel'),
  seat: fc.constantFrom(null, 1, 2, 3),
})
const some = fc.array(row, { minLength: 1, maxLength: 4 })
const write: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant('append' as const), rows: some }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('upsert' as const), rows: some }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('replace' as const), rows: some }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('update' as const),
      rows: fc.uniqueArray(
        row.map(({ id, mail }) => ({ id, mail })),
        { selector: ({ id }) => id, minLength: 1, maxLength: 3 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('delete' as const), ids: fc.array(fc.nat(IDS - 1), { minLength: 1, maxLength: 3 }) }) },
)
type Step =
  | { readonly how: 'alone'; readonly write: Op }
  | { readonly how: 'loaded'; readonly write: Op }
  | { readonly how: 'transaction'; readonly writes: readonly Op[] }
  | { readonly how: 'staged'; readonly writes: readonly Op[] }
  | { readonly how: 'flush' }
  | { readonly how: 'reopen' }
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ how: fc.constantFrom<('alone' | 'loaded')[]>('alone', 'loaded'), write }) as fc.Arbitrary<Step> },
  {
    weight: 4,
    arbitrary: fc.record({
      how: fc.constantFrom<('transaction' | 'staged')[]>('transaction', 'staged'),
      writes: fc.array(write, { minLength: 1, maxLength: 3 }),
    }) as fc.Arbitrary<Step>,
  },
  { weight: 3, arbitrary: fc.record({ how: fc.constantFrom<('flush' | 'reopen')[]>('flush', 'flush', 'reopen') }) as fc.Arbitrary<Step> },
)

interface Writer {
  append(table: typeof rows, data: readonly Row[] | AsyncIterable<readonly Row[]>): unknown
  upsert(table: typeof rows, data: readonly Row[] | AsyncIterable<readonly Row[]>): unknown
  replace(table: typeof rows, data: readonly Row[] | AsyncIterable<readonly Row[]>): unknown
  delete(table: typeof rows, ids: readonly number[]): unknown
}

function perform(to: Writer & { update?(table: typeof rows, patches: readonly object[]): unknown }, each: Op, streamed = false): unknown {
  if (each.op === 'delete') return to.delete(rows, each.ids)
  if (each.op === 'update') return to.update!(rows, each.rows)
  return to[each.op](rows, streamed ? stream(each.rows) : each.rows)
}

async function* stream(all: readonly Row[]): AsyncGenerator<readonly Row[], undefined> {
  for (const each of all) yield [each]
}

async function settled(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work()
    return undefined
  } catch (error) {
    return error
  }
}

async function run(script: readonly Step[], sealMode: 'fused' | 'separate'): Promise<void> {
  const root = new MemoryRoot()
  const options = { upkeep: 'manual' as const, sealMode }
  // Loads: the same store under another limit.
  let store = await Store.open(root, options)
  const reopen = async (o: object = {}): Promise<void> => {
    await store.close()
    store = await Store.open(root, { ...options, ...o })
  }
  await store.create(rows)
  let model: Model = new Map()
  for (const each of script) {
    let next: Model | undefined = model
    let error: unknown
    if (each.how === 'flush') await store.flush()
    else if (each.how === 'reopen') await reopen()
    else if (each.how === 'alone' || each.how === 'loaded') {
      const { write: one } = each
      if (each.how === 'loaded') await reopen({ inlineLimitBytes: 0 })
      next = after(model, one)
      error = await settled(async () => perform(store as unknown as Writer, one, each.how === 'loaded'))
      if (each.how === 'loaded') await reopen()
    } else {
      // Staged writes take no updates.
      const writes = each.how === 'staged' ? each.writes.filter(({ op }) => op !== 'update') : each.writes
      next = new Map(model)
      for (const one of writes) next = next === undefined ? undefined : inside(next, one)
      if (next !== undefined && !isSound(next)) next = undefined
      error = await settled(async () => {
        if (each.how === 'transaction') {
          await store.transact(async (tx) => {
            for (const one of writes) await perform(tx as unknown as Writer, one)
          })
          return
        }
        await using staged = await store.stage()
        for (const one of writes) await perform(staged as unknown as Writer, one)
        await staged.publish()
      })
    }
    if (next === undefined) expect(error).toBeInstanceOf(DuplicateKeyError)
    else {
      expect(error).toBeUndefined()
      model = next
    }
    const found = await store.scan(rows, { orderBy: 'id' }).toArray()
    expect(found).toEqual([...model.values()].sort((a, b) => a.id - b.id))
  }
  await store.close()
}

describe('a table with a key and two unique constraints', () => {
  for (const sealMode of ['fused', 'separate'] as const) {
    it(`takes and refuses what the model does, loads sealed ${sealMode}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 14 }), (script) => run(script, sealMode)),
        { numRuns: 60 },
      )
    })
  }
})

it('a table without a key, loads and deletes by position included', async () => {
  const mails = fc.array(fc.constantFrom(null, 'a', 'b', 'c'), { minLength: 1, maxLength: 3 })
  const moves = fc.oneof(
    fc.record({ how: fc.constantFrom('append' as const, 'load' as const, 'staged' as const, 'replace' as const), mails }),
    fc.record({ how: fc.constantFrom('flush' as const) }),
    fc.record({ how: fc.constantFrom('delete' as const, 'stagedDelete' as const), mail: fc.constantFrom('a', 'b') }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(moves, { minLength: 1, maxLength: 12 }), async (script) => {
      const root = new MemoryRoot()
      let store = await Store.open(root, { upkeep: 'manual' })
      await store.create(bare)
      let model: (string | null)[] = []
      for (const move of script) {
        let next: (string | null)[] | undefined = model
        let work: (() => Promise<unknown>) | undefined
        if (move.how === 'flush') await store.flush()
        else if ('mail' in move) {
          next = model.filter((mail) => mail !== move.mail)
          work = async () => {
            if (move.how === 'delete') return store.deleteWhere(bare, eq('mail', move.mail))
            await using staged = await store.stage()
            await staged.deleteWhere(bare, eq('mail', move.mail))
            // What it frees it may take again.
            await staged.append(bare, { mail: move.mail, n: 0 })
            return staged.publish()
          }
          if (move.how === 'stagedDelete') next = [...next, move.mail]
        } else {
          const data = move.mails.map((mail, n) => ({ mail, n }))
          const all = move.how === 'replace' ? move.mails : [...model, ...move.mails]
          const set = all.filter((mail) => mail !== null)
          next = new Set(set).size === set.length ? all : undefined
          if (move.how === 'load') {
            await store.close()
            store = await Store.open(root, { upkeep: 'manual', inlineLimitBytes: 0 })
          }
          work = async () => {
            if (move.how === 'append' || move.how === 'load') return store.append(bare, data)
            if (move.how === 'replace') return store.replace(bare, data)
            await using staged = await store.stage()
            await staged.append(bare, data)
            return staged.publish()
          }
        }
        const error = work === undefined ? undefined : await settled(work)
        if (next === undefined) expect(error).toBeInstanceOf(DuplicateKeyError)
        else {
          expect(error).toBeUndefined()
          model = next
        }
        const found = (await store.scan(bare).toArray()).map(({ mail }) => String(mail))
        expect(found.toSorted()).toEqual(model.map(String).toSorted())
      }
      await store.close()
    }),
    { numRuns: 60 },
  )
})
