// Branches and tags through the public door: names, rows, time, the change feed, and what becomes of a branch that is deleted.

import { describe, expect, it } from 'vitest'

import { columns, eq, gt, StaleBranchError, type Store, t, table } from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from './places.ts'

const rows = table('rows', { id: t.int32(), text: t.utf8().nullable() }, { key: ['id'] })
const notes = table('notes', { at: t.int32() })

type Reading = Pick<Store, 'scan'>

async function ids(store: Reading, at?: string | bigint): Promise<number[]> {
  const found = await store.scan(rows, at === undefined ? {} : { at: at as never }).toArray()
  return found.map(({ id }) => id).toSorted((a, b) => a - b)
}

/** Rows 1 and 2. */
async function started(place: string, options = {}): Promise<Store> {
  const store = await opened(place, options)
  await store.create(rows, notes)
  await store.append(rows, [{ id: 1 }, { id: 2 }])
  return store
}

const some = (from: number, count: number): { id: number; text: string }[] => Array.from({ length: count }, (_, i) => ({ id: from + i, text: `t${from + i}` }))

describe.each(PLACES)('a branch, %s', (_, place) => {
  it('begins with the rows of main and goes its own way, as main does', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    await dev.upsert(rows, [{ id: 2, text: 'dev' }, { id: 3 }])
    await store.delete(rows, 1)
    expect(await ids(dev)).toEqual([1, 2, 3])
    expect(await ids(store)).toEqual([2])
    expect(await dev.get(rows, 2)).toEqual({ id: 2, text: 'dev' })
    expect(await store.get(rows, 2)).toEqual({ id: 2, text: null })
    expect(await dev.getMany(rows, [3, 9])).toEqual([{ id: 3, text: null }, undefined])
    expect(await dev.has(rows, 1)).toBe(true)
    expect(await dev.scan(rows, { where: gt('id', 1) }).count()).toBe(2)
  })

  it('takes every kind of write', async () => {
    const store = await started(place(), { inlineLimitBytes: 4096 })
    const dev = await store.branch('dev')
    await dev.append(rows, columns({ id: Int32Array.from({ length: 3000 }, (_each, i) => 100 + i), text: Array.from({ length: 3000 }, () => 'loaded') }))
    await dev.update(rows, { id: 100, text: 'updated' })
    await dev.delete(rows, [101, 1])
    await dev.deleteWhere(rows, gt('id', 2000))
    await dev.transact(async (tx) => {
      const row = await tx.get(rows, 100)
      tx.upsert(rows, { id: 5000, text: row!.text! })
      tx.append(notes, { at: 1 })
    })
    const write = await dev.stage('later')
    await write.append(rows, some(6000, 10))
    await write.seal()
    expect(await dev.scan(rows).count()).toBe(1900 + 1 + 1)
    await write.publish()
    await dev.replace(notes, [{ at: 7 }, { at: 8 }])
    expect(await dev.scan(rows).count()).toBe(1900 + 1 + 1 + 10)
    expect(await dev.get(rows, 5000)).toEqual({ id: 5000, text: 'updated' })
    expect(await dev.scan(notes).count()).toBe(2)
    expect(await ids(store)).toEqual([1, 2])
    expect(await store.scan(notes).count()).toBe(0)
  })

  it('is there after a reopen, flushed or not, and after main went on', async () => {
    const root = place()
    let store = await started(root)
    const dev = await store.branch('dev')
    await dev.upsert(rows, some(2, 3))
    await store.append(rows, some(50, 2))
    await store.flush()
    await dev.delete(rows, 3)
    await store.close()
    store = await opened(root)
    const again = await store.branch('dev', { create: 'never' })
    expect(again.branchId).toBe(dev.branchId)
    expect(await ids(again)).toEqual([1, 2, 4])
    await again.append(rows, some(9, 1))
    await store.flush()
    await store.close()
    store = await opened(root)
    expect(await ids(store, 'dev')).toEqual([1, 2, 4, 9])
    expect(await ids(store)).toEqual([1, 2, 50, 51])
    expect(await store.verify({ level: 'all' })).toMatchObject({ ok: true, problems: [] })
  })

  it('can begin at an older position, a time, a tag, or on another branch', async () => {
    const store = await started(place())
    const first = store.lsn
    await store.append(rows, some(10, 1))
    await store.tag('ten')
    await store.append(rows, some(20, 1))
    const old = await store.branch('old', { from: first })
    const tagged = await store.branch('tagged', { from: 'ten' })
    const dev = await store.branch('dev')
    await dev.append(rows, some(30, 1))
    const at = dev.lsn
    await dev.append(rows, some(31, 1))
    const sub = await store.branch('sub', { from: 'dev' })
    const older = await store.branch('older', { from: (await store.snapshot()).time })
    await dev.append(rows, some(32, 1))
    await sub.append(rows, some(40, 1))
    expect(await ids(old)).toEqual([1, 2])
    expect(await ids(tagged)).toEqual([1, 2, 10])
    expect(await ids(sub)).toEqual([1, 2, 10, 20, 30, 31, 40])
    expect(await ids(sub, at)).toEqual([1, 2, 10, 20, 30])
    expect(await ids(sub, first)).toEqual([1, 2])
    expect(await ids(older)).toEqual([1, 2, 10, 20])
    expect(await ids(dev, 'old')).toEqual([1, 2])
  })

  it('is listed with where it begins and what changed it last; main is first', async () => {
    const store = await started(place())
    const from = store.lsn
    const dev = await store.branch('dev')
    expect(dev.lsn).toBe(from)
    const { lsn } = await dev.append(rows, some(3, 1))
    await store.branch('a')
    expect(dev.lsn).toBe(lsn)
    expect(await store.branches()).toMatchObject([
      { name: 'main', branchId: '00000000000000000000000000', from: 0n, head: from },
      { name: 'a', from: expect.any(BigInt) as bigint },
      { name: 'dev', branchId: dev.branchId, from, head: lsn },
    ])
    expect((await store.branch('main')).lsn).toBe(from)
  })

  it('has conflicts of its own: a key written on another branch is none', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    let runs = 0
    await dev.transact(
      async (tx) => {
        runs++
        await tx.get(rows, 1)
        await tx.scan(rows).count()
        await store.upsert(rows, { id: 1, text: 'main' })
        tx.upsert(rows, { id: 1, text: 'dev' })
      },
      { retries: 0 },
    )
    expect(runs).toBe(1)
    const write = await dev.stage('staged')
    await write.upsert(rows, { id: 2, text: 'staged' })
    await store.upsert(rows, { id: 2, text: 'main' })
    await write.publish()
    expect(await dev.scan(rows, { orderBy: 'id' }).toArray()).toEqual([
      { id: 1, text: 'dev' },
      { id: 2, text: 'staged' },
    ])
    const lost = dev.transact(
      async (tx) => {
        await dev.upsert(rows, { id: 1, text: 'quicker' })
        tx.upsert(rows, { id: 1, text: 'late' })
      },
      { retries: 0 },
    )
    await expect(lost).rejects.toMatchObject({ name: 'ConflictError' })
  })

  it('enforces keys of its own', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    await store.append(rows, some(3, 1))
    await dev.append(rows, some(3, 1))
    await expect(dev.append(rows, some(3, 1))).rejects.toMatchObject({ name: 'DuplicateKeyError' })
    await expect(store.append(rows, some(1, 1))).rejects.toMatchObject({ name: 'DuplicateKeyError' })
  })

  it('answers an idempotency key of another branch as another request', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    await store.append(notes, { at: 1 }, { idempotencyKey: 'k' })
    await expect(dev.append(notes, { at: 1 }, { idempotencyKey: 'k' })).rejects.toMatchObject({ name: 'IdempotencyMismatchError' })
    const first = await dev.append(notes, { at: 1 }, { idempotencyKey: 'd' })
    expect(await dev.append(notes, { at: 1 }, { idempotencyKey: 'd' })).toMatchObject({ lsn: first.lsn, replayed: true })
    expect(await dev.scan(notes).count()).toBe(1)
  })

  it('reads of a snapshot stay, whatever is written to it', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    await using snapshot = await store.snapshot('dev')
    await dev.replace(rows, some(90, 1))
    await store.flush()
    expect(await ids(snapshot as never)).toEqual([1, 2, 3])
    expect(await ids(snapshot as never, 'main')).toEqual([1, 2])
  })

  it('has a change feed: what it stands on up to where it begins, then its own', async () => {
    const store = await started(place())
    const dev = await store.branch('dev')
    await store.append(rows, some(50, 1))
    await dev.upsert(rows, [{ id: 1, text: 'x' }, { id: 7 }])
    await dev.append(notes, { at: 1 })
    const told = async (branch: string | undefined, from: bigint | number): Promise<unknown[]> => {
      const found: unknown[] = []
      for await (const commit of store.changes({ from: from as never, tables: [rows], follow: false, ...(branch === undefined ? {} : { branch }) })) {
        if (commit.schema.length > 0) continue
        found.push([commit.branch, (await collect(commit)).map(({ kind, after }) => `${kind} ${after!.id}`)])
      }
      return found
    }
    const own = ['dev', ['update 1', 'insert 7']]
    expect(await told('dev', 0)).toEqual([['main', ['insert 1', 'insert 2']], own])
    expect(await told('dev', dev.lsn - 2n)).toEqual([own])
    expect(await told(undefined, 0)).toEqual([
      ['main', ['insert 1', 'insert 2']],
      ['main', ['insert 50']],
    ])
    const counts = await collect(store.changes({ from: 0, branch: 'dev', follow: false }))
    expect(counts.map(({ branch }) => branch)).toEqual(['main', 'main', 'dev', 'dev'])
    expect(await failure(() => collect(store.changes({ branch: 'nope' })))).toMatchObject({ name: 'BranchNotFoundError' })
  })

  it('tells apart two writes at one time on several branches', async () => {
    const store = await started(place())
    const branches = await Promise.all(['a', 'b', 'c', 'd'].map((name) => store.branch(name)))
    await Promise.all(branches.flatMap((branch, i) => Array.from({ length: 20 }, (_each, n) => branch.append(rows, { id: 100 + n, text: `${i}` }))))
    for (const [i, branch] of branches.entries()) {
      expect(await branch.scan(rows, { where: eq('text', `${i}`) }).count()).toBe(20)
      expect(await branch.scan(rows).count()).toBe(22)
    }
  })
})

describe('tags', () => {
  it('name a position for good, of main or of a branch, also when the branch is deleted', async () => {
    const store = await started('memory:')
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    await store.tag('v1', { at: 'dev', message: 'first' })
    await store.tag('v0')
    await dev.append(rows, some(4, 1))
    await store.append(rows, some(9, 1))
    await store.deleteBranch('dev')
    expect(await ids(store, 'v1')).toEqual([1, 2, 3])
    expect(await ids(store, 'v0')).toEqual([1, 2])
    expect(await store.tags()).toEqual([
      { name: 'v0', lsn: expect.any(BigInt) as bigint, time: expect.any(Date) as Date },
      { name: 'v1', lsn: expect.any(BigInt) as bigint, time: expect.any(Date) as Date, message: 'first' },
    ])
    const again = await store.branch('again', { from: 'v1' })
    await store.deleteTag('v1')
    expect(await failure(() => ids(store, 'v1'))).toMatchObject({ name: 'BranchNotFoundError', branch: 'v1' })
    expect(await ids(again)).toEqual([1, 2, 3])
    await expect(store.deleteTag('v1')).rejects.toMatchObject({ name: 'BranchNotFoundError' })
    await expect(store.deleteTag('again')).rejects.toMatchObject({ name: 'BranchNotFoundError' })
  })

  it('share one namespace with branches', async () => {
    const store = await started('memory:')
    await store.branch('dev')
    await store.tag('v1')
    await expect(store.tag('dev')).rejects.toMatchObject({ name: 'BranchExistsError', branch: 'dev' })
    await expect(store.tag('v1')).rejects.toMatchObject({ name: 'BranchExistsError' })
    await expect(store.branch('v1')).rejects.toMatchObject({ name: 'BranchExistsError' })
    await expect(store.branch('v1', { create: 'never' })).rejects.toMatchObject({ name: 'BranchNotFoundError' })
    await expect(store.branch('dev', { create: 'must' })).rejects.toMatchObject({ name: 'BranchExistsError' })
    await expect(store.branch('main', { create: 'must' })).rejects.toMatchObject({ name: 'BranchExistsError' })
    await expect(store.branch('new', { create: 'never' })).rejects.toMatchObject({ name: 'BranchNotFoundError' })
    await expect(store.tag('v2', { message: 'x'.repeat(5000) })).rejects.toMatchObject({ name: 'ResourceLimitError' })
    await expect(store.branch('x', { from: 'nope' })).rejects.toMatchObject({ name: 'BranchNotFoundError' })
    await expect(store.branch('x', { from: 9999n as never })).rejects.toMatchObject({ name: 'HistoryUnavailableError' })
    await expect(store.branch('x', { form: 1 } as never)).rejects.toMatchObject({ name: 'InvalidConfigError', key: 'form' })
    await expect(store.branch('x', { create: 'maybe' as never })).rejects.toMatchObject({ name: 'InvalidConfigError', key: 'create' })
  })

  const bad = ['', 'Main', 'main', 'varve/x', 'a//b', 'a/', 'a.lock', '-a', '.a', 'a b', 'ä', 'x'.repeat(129), 7 as never]
  it.each(bad)('and branches have no such name: %s', async (name) => {
    const store = await started('memory:')
    if (name !== 'main') await expect(store.branch(name)).rejects.toMatchObject({ name: 'InvalidNameError' })
    await expect(store.tag(name)).rejects.toMatchObject({ name: 'InvalidNameError' })
    expect(await store.branches()).toHaveLength(1)
  })

  it('and branches may have names that are paths of each other', async () => {
    const store = await started('memory:')
    for (const name of ['a', 'a/b', 'a/b/c', '0', 'x.y_z-1', 'y'.repeat(128)]) await store.branch(name)
    expect(await store.branches()).toHaveLength(7)
  })
})

describe('a branch that is deleted', () => {
  it('rejects with StaleBranchError, also when its name is given again', async () => {
    const store = await started('memory:')
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    const scan = dev.scan(rows)
    await store.deleteBranch('dev')
    const again = await store.branch('dev')
    expect(again.branchId).not.toBe(dev.branchId)
    expect(await ids(again)).toEqual([1, 2])
    for (const call of [
      () => dev.get(rows, 1),
      () => dev.scan(rows).count(),
      () => scan.count(),
      () => dev.append(rows, some(8, 1)),
      () => dev.transact(() => undefined),
      () => dev.stage(),
    ]) {
      expect(await failure(call)).toMatchObject({ name: 'StaleBranchError', code: 'branch.stale', branch: 'dev', branchId: dev.branchId })
    }
    expect(await ids(again)).toEqual([1, 2])
  })

  it('and made again between capture and publish: StaleBranchError, nothing written', async () => {
    const store = await started('memory:')
    const dev = await store.branch('dev')
    const transaction = dev.transact(async (tx) => {
      tx.upsert(rows, { id: 50 })
      await store.deleteBranch('dev')
      await store.branch('dev')
    })
    await expect(transaction).rejects.toThrow(StaleBranchError)
    expect(await ids(store, 'dev')).toEqual([1, 2])
    expect(await ids(store)).toEqual([1, 2])
  })

  it('is stale to a staged write of another handle that is sealed later', async () => {
    const store = await started('memory:')
    const dev = await store.branch('dev')
    const write = await dev.stage()
    await store.deleteBranch('dev')
    await expect(write.append(rows, some(60, 1)).then(() => write.publish())).rejects.toThrow(StaleBranchError)
    await write.rollback()
    expect(await store.pending()).toEqual([])
  })

  it('is refused while somebody works on a write to it, and allowed once its owner is gone', async () => {
    const [, place] = PLACES[1]!
    const root = place()
    let store = await started(root)
    let dev = await store.branch('dev')
    const write = await dev.stage('held')
    await write.append(rows, some(60, 2))
    await expect(store.deleteBranch('dev')).rejects.toMatchObject({ name: 'PendingIntentError', writeIds: [write.id] })
    await write.seal()
    await expect(store.deleteBranch('dev')).rejects.toMatchObject({ name: 'PendingIntentError' })
    await store.close()
    store = await opened(root)
    await store.deleteBranch('dev')
    dev = await store.branch('dev')
    const resumed = await store.resume(write.id)
    await expect(resumed.publish()).rejects.toThrow(StaleBranchError)
    await store.close()
    // Discarded, on main, once.
    store = await opened(root)
    await store.append(notes, { at: 1 })
    await store.close()
    store = await opened(root)
    expect(await store.pending()).toEqual([])
    const rowsOf = (await collect(store.audit())).filter(({ writeId, kind }) => writeId === write.id && kind !== 'seal')
    expect(rowsOf).toMatchObject([{ kind: 'orphanDiscarded', reason: 'branch-deleted', outcomes: [{ outcome: 'discarded' }] }])
    expect(await ids(store, 'dev')).toEqual([1, 2])
    expect(await store.outcome(write.id)).toBe('rolledBack')
  })

  it('is kept as long as a branch that was made of it', async () => {
    const store = await started('memory:')
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    const sub = await store.branch('sub', { from: 'dev' })
    await store.deleteBranch('dev')
    await sub.append(rows, some(4, 1))
    expect(await ids(sub)).toEqual([1, 2, 3, 4])
    await expect(store.deleteBranch('dev')).rejects.toMatchObject({ name: 'BranchNotFoundError' })
    await expect(store.deleteBranch('main')).rejects.toMatchObject({ name: 'InvalidNameError' })
  })

  it('ends a change feed of it', async () => {
    const store = await started('memory:')
    await store.branch('dev')
    const feed = store.changes({ branch: 'dev', from: 0 })
    await feed.next()
    await store.deleteBranch('dev')
    await expect(collect(feed)).rejects.toThrow(StaleBranchError)
  })
})

describe('a sealed write on a branch', () => {
  it('is published there by a handle of the next process', async () => {
    const [, place] = PLACES[1]!
    const root = place()
    let store = await started(root)
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    const write = await dev.stage('held')
    await write.upsert(rows, [{ id: 3, text: 'sealed' }, { id: 4 }])
    await write.seal()
    await store.close()
    store = await opened(root)
    expect(await store.staged()).toMatchObject([{ writeId: write.id, branch: 'dev', decision: { kind: 'keep' } }])
    await (await store.resume(write.id)).publish()
    expect(await ids(store, 'dev')).toEqual([1, 2, 3, 4])
    expect(await (await store.branch('dev')).get(rows, 3)).toEqual({ id: 3, text: 'sealed' })
    expect(await ids(store)).toEqual([1, 2])
  })
})

describe('the audit of a store', () => {
  it('tells who named what', async () => {
    const store = await started('memory:')
    await store.branch('dev')
    await store.tag('v1', { at: 'dev' })
    await store.deleteTag('v1')
    await store.deleteBranch('dev')
    const told = await collect(store.audit({ kinds: ['branch'] }))
    expect(told.map(({ reason }) => reason)).toEqual(['create dev', 'tag v1', 'untag v1', 'delete dev'])
  })
})

describe('a reader beside the writer', () => {
  it('sees branches and tags, and follows them', async () => {
    const [, place] = PLACES[1]!
    const root = place()
    const store = await started(root)
    const dev = await store.branch('dev')
    await dev.append(rows, some(3, 1))
    const reader = (await opened(root, { readOnly: true, follow: false })) as Store
    expect(await ids(reader, 'dev')).toEqual([1, 2, 3])
    await dev.delete(rows, 1)
    await store.tag('v1', { at: 'dev' })
    await store.append(rows, some(70, 1))
    await dev.append(rows, some(5, 1))
    await reader.refresh()
    expect(await ids(reader, 'dev')).toEqual([2, 3, 5])
    expect(await ids(reader, 'v1')).toEqual([2, 3])
    expect((await reader.branches()).map(({ name }) => name)).toEqual(['main', 'dev'])
    expect((await reader.tags()).map(({ name }) => name)).toEqual(['v1'])
    await expect(reader.branch('x')).rejects.toMatchObject({ name: 'ReadOnlyError' })
    await store.deleteBranch('dev')
    await reader.refresh()
    expect(await failure(() => ids(reader, 'dev'))).toMatchObject({ name: 'BranchNotFoundError' })
  })
})
