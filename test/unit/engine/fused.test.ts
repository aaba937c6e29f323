// Writes that are armed, filled, promoted, recorded and retired in one go: loads, flushes, large deletes (recovery.md sections 2, 10, 16).
import { describe, expect, it } from 'vitest'

import { ConflictError, DuplicateKeyError, InvalidConfigError, lt, SchemaMismatchError, StorageError, type Store } from '../../../bindings/index.ts'
import { decodeIntent, fragmentName } from '../../../bindings/format/index.ts'
import { FP, type FailpointRegistry } from '../../../bindings/runtime/index.ts'
import type { FakeCall } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

/** Everything is staged: what is one row too. */
const STAGED = { inlineLimitBytes: 0 } as const
const many = (from: number, to: number, v = 'x'): { id: number; v: string }[] => Array.from({ length: to - from }, (_, i) => item(from + i, v))
const pointsOf = (place: Place): FailpointRegistry => place.sim.world.failpoints as FailpointRegistry

/** Calls of the file system since `from`, as `op path` below the store; digests and temporary names made short. */
function since(place: Place, from: number): string[] {
  const short = (path: string): string =>
    path
      .replace('/data/store/', '')
      .replace(/\.[^/]*\.tmp$/, (temp) => `.${/\.(arrow|idx|dv|keys)\./.exec(temp)?.[1] ?? 'file'}.tmp`)
      .replaceAll(/[0-9a-f]{64}(\.g\d+)?/g, '<digest>')
      .replaceAll(/\/[0-9a-f]{2}\//g, '/ab/')
      .replaceAll(/staging\/[0-9A-Z]{26}/g, 'staging/<id>')
  return place.files.calls.slice(from).map((call: FakeCall) => `${call.op} ${short(call.path)}${call.to === undefined ? '' : ` -> ${short(call.to)}`}`)
}

const count = (calls: readonly string[], pattern: RegExp): number => calls.filter((call) => pattern.test(call)).length

describe('a load', () => {
  it('arms, stages, promotes, records and retires, each durable before the next', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, many(0, 10))
    const from = place.files.calls.length
    await place.store.append(items, many(10, 20))
    const calls = since(place, from)
    const at = (pattern: RegExp): number => calls.findIndex((call) => pattern.test(call))
    const last = (pattern: RegExp): number => calls.findLastIndex((call) => pattern.test(call))
    const steps = [
      at(/^mkdir staging\/<id>/),
      at(/^sync staging\/<id>\/\.file\.tmp/),
      at(/^link .* -> staging\/<id>\/INTENT$/),
      at(/^syncDir staging\/<id>$/),
      at(/^open staging\/<id>\/\./) < at(/-> staging\/<id>\/INTENT$/) ? at(/^rename .* -> staging\/<id>\/<digest>\./) : -1,
      at(/^link staging\/<id>\/<digest>\.\w+ -> (fragments|indexes)\//),
      last(/^syncDir (fragments|indexes)\/ab$|^syncDir (fragments|indexes)\/[0-9a-f]{2}$/),
      last(/^datasync log\//),
      at(/^unlink staging\/<id>\/<digest>/),
      at(/^unlink staging\/<id>\/INTENT$/),
      at(/^rmdir staging\/<id>$/),
      last(/^syncDir staging$/),
    ]
    expect(steps, calls.join('\n')).toEqual(steps.toSorted((a, b) => a - b))
    expect(steps[0]).toBeGreaterThanOrEqual(0)
    expect(last(/^sync staging\/<id>/)).toBeLessThan(at(/^link staging\/<id>\/<digest>/))
    expect(await place.staging()).toEqual([])
  })

  it('costs 1 + k + i synced files, k + i links, one group of the log, two directory syncs beside those of promoted names, one to retire', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, many(0, 10))
    for (let round = 1; round <= 3; round++) {
      const from = place.files.calls.length
      await place.store.append(items, many(round * 100, round * 100 + 10))
      const calls = since(place, from)
      const promoted = count(calls, /^syncDir (fragments|indexes)/)
      expect(count(calls, /^sync /)).toBe(3)
      expect(count(calls, /^link (?!.*INTENT)/)).toBeGreaterThanOrEqual(2)
      expect(count(calls, /^rename .* -> staging/)).toBe(2)
      expect(count(calls, /^datasync log/)).toBe(1)
      expect(count(calls, /^syncDir/) - promoted).toBe(3)
      expect(count(calls, /^syncDir staging\/<id>$/)).toBe(1)
      expect(count(calls, /^readdir (?!staging)/)).toBe(0)
      // Both names and, where it is new, the folder of each.
      expect(promoted).toBeLessThanOrEqual(4)
    }
  })

  it('names its table, its kind and its owner in the INTENT', async () => {
    const place = await Place.open(STAGED)
    using _armed = pointsOf(place).arm(FP.promote.before, { error: 'io' })
    const seen: unknown[] = []
    const root = place.files
    using _look = pointsOf(place).arm(FP.stage.afterFile, {
      run: async () => {
        const [id] = await place.staging()
        const handle = await root.open(`/data/store/staging/${id!}INTENT`, 'r')
        const bytes = new Uint8Array((await handle.stat()).size)
        await handle.read(0, bytes)
        await handle.close()
        seen.push(decodeIntent(bytes, 'INTENT'))
      },
    })
    await expect(place.store.upsert(items, many(0, 3), { author: 'ann', message: 'three' })).rejects.toBeInstanceOf(StorageError)
    expect(seen[0]).toMatchObject({
      kind: 'upsert',
      mode: 'auto',
      actor: 'ann',
      message: 'three',
      participants: [{ name: 'items', op: 'upsert', rule: 'keys', files: [] }],
      owner: { host: 'fake', pid: 1 },
    })
    expect(await place.staging()).toEqual([])
  })

  it('given input that fails validation, then nothing was ever written under staging/', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, [item(5)])
    const from = place.files.calls.length
    const store = place.store as Store & { append(table: unknown, rows: unknown): Promise<unknown> }
    await expect(store.append(items, [{ id: 1, v: 'x', w: 2 }])).rejects.toBeInstanceOf(SchemaMismatchError)
    await expect(store.append(items, [item(7), item(7)])).rejects.toBeInstanceOf(DuplicateKeyError)
    await expect(store.append(items, [item(4), item(5)])).rejects.toBeInstanceOf(DuplicateKeyError)
    await expect(store.append(items, failing([item(8)], new Error('gone')))).rejects.toThrow('gone')
    expect(since(place, from).filter((call) => call.includes('staging'))).toEqual([])
    expect(await contents(place.store)).toMatchObject({ items: ['5:x'] })
  })

  it('inline commits arm nothing', async () => {
    const place = await Place.open()
    const from = place.files.calls.length
    await place.store.append(items, many(0, 100))
    await place.store.delete(items, 3)
    await place.store.deleteWhere(items, lt('id', 10))
    expect(since(place, from).filter((call) => call.includes('staging') || call.includes('fragments'))).toEqual([])
  })

  const FAULTS = [
    ['no room for INTENT', FP.intent.write, 'space'],
    ['an error after INTENT', FP.intent.writeAfter, 'io'],
    ['no room for a file', FP.stage.beforeFile, 'space'],
    ['an error after a file', FP.stage.afterFile, 'io'],
    ['an error before promotion', FP.promote.before, 'permission'],
    ['an error between two links', FP.promote.betweenFiles, 'io'],
    ['an error after promotion', FP.promote.after, 'unavailable'],
  ] as const
  for (const [what, point, cls] of FAULTS) {
    it(`given ${what}, then the caller is told, staging is empty, nothing changed, and the same handle goes on`, async () => {
      const place = await Place.open(STAGED)
      await place.store.append(items, many(0, 5))
      const before = place.store.lsn
      {
        using _armed = pointsOf(place).arm(point, { error: cls })
        await expect(place.store.append(items, many(5, 10))).rejects.toMatchObject({ class: cls })
        await expect(place.store.upsert(items, many(0, 10, 'y'))).rejects.toMatchObject({ class: cls })
        await expect(place.store.replace(items, many(0, 10, 'z'))).rejects.toMatchObject({ class: cls })
      }
      expect(await place.staging()).toEqual([])
      expect(place.store.lsn).toBe(before)
      expect(await place.store.pending()).toEqual([])
      await place.store.append(items, many(5, 10))
      expect((await contents(place.store)).items).toHaveLength(10)
      expect((await collect(place.store.audit())).filter(({ kind }) => kind.startsWith('rolled'))).toEqual([])
      await place.reopen()
      expect((await contents(place.store)).items).toHaveLength(10)
      expect(await place.staging()).toEqual([])
      expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
    })
  }

  it('given an error while it retires, then it succeeds, says so, and the next open clears up without an audit row', async () => {
    for (const point of [FP.retire.before, FP.retire.betweenFiles, FP.intent.delete, FP.retire.after] as const) {
      const place = await Place.open(STAGED)
      const told: string[] = []
      using _on = place.store.on('retireDeferred', ({ writeId }) => told.push(writeId))
      {
        using _armed = pointsOf(place).arm(point, { error: 'io' })
        const { writeId } = await place.store.append(items, many(0, 5))
        expect(told).toEqual([writeId])
        if (point !== FP.retire.after) expect((await place.staging())[0]).toBe(`${writeId}/`)
      }
      await place.store.append(items, many(5, 9))
      await place.reopen()
      expect(await place.staging()).toEqual([])
      expect((await contents(place.store)).items).toHaveLength(9)
      expect((await collect(place.store.audit())).filter(({ kind }) => kind.startsWith('rolled'))).toEqual([])
    }
  })

  it('given an abort between two fragments, then it rejects with the reason and leaves nothing', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, many(0, 5))
    const abort = new AbortController()
    const reason = new Error('enough')
    const files = pointsOf(place).arm(FP.stage.afterFile, { run: () => abort.abort(reason), mayMiss: true })
    await expect(place.store.append(items, many(5, 400_000), { signal: abort.signal })).rejects.toBe(reason)
    files[Symbol.dispose]()
    expect(files.hits).toBeGreaterThan(0)
    expect(await place.staging()).toEqual([])
    expect(since(place, 0).some((call) => /^link staging.* fragments/.test(call) && call.includes('-> fragments'))).toBe(true)
    expect((await contents(place.store)).items).toHaveLength(5)
  })

  it('given a damaged file under its address, then the next generation, and both are read as what they are', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, many(0, 50))
    await place.store.close()
    const [name] = await listed(place, '/data/store/fragments')
    const digest = /([0-9a-f]{64})\.arrow$/.exec(name!)![1]!
    // Another store whose first load has the same bytes; its address is taken by damaged ones.
    const other = await Place.open(STAGED)
    const parts = `/data/store/${fragmentName(digest)}`.split('/').slice(0, -1)
    for (let i = 3; i <= parts.length; i++) await other.files.mkdir(parts.slice(0, i).join('/')).catch(() => undefined)
    const handle = await other.files.open(`/data/store/${fragmentName(digest)}`, 'wx')
    handle.writeSync(0, new Uint8Array(1000))
    await handle.sync()
    await handle.close()
    await other.store.append(items, many(0, 50))
    expect(await listed(other, '/data/store/fragments')).toEqual([`/data/store/${fragmentName(digest)}`, `/data/store/${fragmentName(digest, 1)}`])
    for (let round = 0; round < 2; round++) {
      expect((await contents(other.store)).items).toHaveLength(50)
      expect((await other.store.verify({ level: 'all' })).problems).toEqual([])
      await other.reopen()
    }
    await other.store.delete(items, 7)
    expect((await contents(other.store)).items).toHaveLength(49)
  })

  it('a commit that comes while it is promoted is seen: a conflict for an append, replaced by an upsert', async () => {
    const place = await Place.open({ inlineLimitBytes: 1000 })
    const park = pointsOf(place).arm(FP.promote.after, { park: true })
    const appending = place.store.append(items, many(0, 1000)).catch((error: unknown) => error)
    await park.reached()
    await place.store.append(items, [item(3, 'first')])
    park.release()
    expect(await appending).toBeInstanceOf(ConflictError)
    park[Symbol.dispose]()
    expect(await place.staging()).toEqual([])
    const again = pointsOf(place).arm(FP.promote.after, { park: true })
    const upserting = place.store.upsert(items, many(0, 1000))
    await again.reached()
    await place.store.upsert(items, [item(3, 'second')])
    again.release()
    await upserting
    again[Symbol.dispose]()
    expect((await contents(place.store)).items.filter((text) => text.startsWith('3:'))).toEqual(['3:x'])
    expect((await contents(place.store)).items).toHaveLength(1000)
  })

  it('under an idempotency key, the same load again is the same commit, and stages nothing that stays', async () => {
    const place = await Place.open(STAGED)
    const first = await place.store.append(notes, [note(1), note(2)], { idempotencyKey: 'k' })
    const second = await place.store.append(notes, [note(1), note(2)], { idempotencyKey: 'k' })
    expect([second.lsn, second.replayed]).toEqual([first.lsn, true])
    await place.kill()
    const third = await place.store.append(notes, [note(1), note(2)], { idempotencyKey: 'k' })
    expect([third.lsn, third.replayed]).toEqual([first.lsn, true])
    expect(await place.staging()).toEqual([])
    expect((await contents(place.store)).notes).toHaveLength(2)
  })

  it('two with one writeId: the second is refused and changes nothing', async () => {
    const place = await Place.open(STAGED)
    const { writeId } = await place.store.append(items, many(0, 5))
    await expect(place.store.append(items, many(5, 9), { writeId })).rejects.toBeInstanceOf(InvalidConfigError)
    expect(await place.staging()).toEqual([])
    expect((await contents(place.store)).items).toHaveLength(5)
    await place.reopen()
    expect((await contents(place.store)).items).toHaveLength(5)
  })

  it('killed at any step, it is there wholly or not at all, and one roll-back at most is recorded', async () => {
    const points = [
      FP.intent.write,
      FP.intent.writeAfter,
      FP.stage.beforeFile,
      FP.stage.afterFile,
      FP.promote.before,
      FP.promote.betweenFiles,
      FP.promote.after,
    ]
    const later = [FP.retire.before, FP.retire.betweenFiles, FP.intent.delete, FP.retire.after]
    for (const point of [...points, ...later]) {
      const place = await Place.open(STAGED)
      await place.store.append(items, many(0, 5))
      const reached = Promise.withResolvers<void>()
      pointsOf(place).onCrash(() => reached.resolve())
      pointsOf(place).arm(point, { crash: true, mayMiss: true })
      void place.store.append(items, many(5, 10)).catch(() => undefined)
      await reached.promise
      await place.kill()
      const isThere = (later as readonly string[]).includes(point)
      expect((await contents(place.store)).items, point).toHaveLength(isThere ? 10 : 5)
      expect(await place.staging(), point).toEqual([])
      const rows = (await collect(place.store.audit())).filter(({ kind }) => kind === 'rolledBack')
      expect(rows.length, point).toBe(isThere || point === FP.intent.write ? 0 : 1)
      await place.reopen()
      expect((await contents(place.store)).items, point).toHaveLength(isThere ? 10 : 5)
      expect((await collect(place.store.audit())).filter(({ kind }) => kind === 'rolledBack')).toHaveLength(rows.length)
    }
  })
})

describe('a flush', () => {
  it('arms, stages, promotes, records and retires as a load does', async () => {
    const place = await Place.open()
    await place.store.append(items, many(0, 100))
    const from = place.files.calls.length
    await place.store.flush()
    const calls = since(place, from)
    const at = (pattern: RegExp): number => calls.findIndex((call) => pattern.test(call))
    const steps = [
      /-> staging\/<id>\/INTENT$/,
      /^rename .* -> staging\/<id>\/<digest>\./,
      /^link staging.* -> fragments/,
      /^unlink staging\/<id>\/<digest>/,
      /^unlink staging\/<id>\/INTENT$/,
    ]
    expect(steps.map(at)).toEqual(steps.map(at).toSorted((a, b) => a - b))
    expect(at(steps[0]!)).toBeGreaterThanOrEqual(0)
    expect(await place.staging()).toEqual([])
    await place.reopen()
    expect((await contents(place.store)).items).toHaveLength(100)
  })

  it('puts deletion vectors through staging too', async () => {
    const place = await Place.open()
    await place.store.append(items, many(0, 5000))
    await place.store.flush()
    await place.store.deleteWhere(items, lt('id', 2000))
    await place.store.append(items, [item(9000)])
    const from = place.files.calls.length
    await place.store.flush()
    // Twice where the folder had to be made first.
    expect(count(since(place, from), /^link staging\/<id>\/<digest>\.dv -> fragments\//)).toBeGreaterThan(0)
    expect((await listed(place, '/data/store/fragments')).filter((name) => name.endsWith('.dv'))).toHaveLength(1)
    expect(await place.staging()).toEqual([])
    for (let round = 0; round < 2; round++) {
      expect((await contents(place.store)).items).toHaveLength(3001)
      expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
      await place.reopen()
    }
  })

  it('given an error anywhere, then rows stay where they are, staging is empty, and the next flush moves them', async () => {
    for (const point of [FP.intent.write, FP.stage.beforeFile, FP.stage.afterFile, FP.promote.before, FP.promote.after, FP.flush.beforePublish] as const) {
      const place = await Place.open()
      await place.store.append(items, many(0, 100))
      {
        using _armed = pointsOf(place).arm(point, { error: 'permission' })
        await expect(place.store.flush()).rejects.toMatchObject({ class: 'permission' })
      }
      expect(await place.staging(), point).toEqual([])
      expect((await contents(place.store)).items).toHaveLength(100)
      await place.store.flush()
      expect((await listed(place, '/data/store/fragments')).length).toBeGreaterThan(0)
      await place.reopen()
      expect((await contents(place.store)).items).toHaveLength(100)
    }
  })
})

describe('a delete of many rows', () => {
  const ROWS = 40_000
  const GONE = 20_000
  async function filled(): Promise<Place> {
    const place = await Place.open()
    await place.store.append(items, many(0, ROWS))
    await place.store.flush()
    return place
  }
  const vectorsOf = async (place: Place): Promise<string[]> => (await listed(place, '/data/store/fragments')).filter((name) => name.endsWith('.dv'))

  it('is one record of a few bytes that names a vector; feed, snapshots and the next open see the same rows', async () => {
    const place = await filled()
    await place.store.delete(items, [5, 6, 7])
    const before = await place.store.snapshot()
    const bytes = (await place.store.stats()).log.bytes
    const { lsn, rows } = await place.store.deleteWhere(items, lt('id', GONE))
    expect(rows).toBe(GONE - 3)
    expect((await place.store.stats()).log.bytes - bytes).toBeLessThan(1000)
    expect(await vectorsOf(place)).toHaveLength(1)
    expect(await place.staging()).toEqual([])
    expect(await before.scan(items).count()).toBe(ROWS - 3)
    await before[Symbol.asyncDispose]()
    for (let round = 0; round < 2; round++) {
      expect(await place.store.scan(items).count()).toBe(ROWS - GONE)
      expect(await place.store.get(items, 19_999)).toBeUndefined()
      expect(await place.store.get(items, 20_000)).toEqual(item(20_000))
      expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
      await place.reopen()
    }
    let deleted = 0
    for await (const commit of place.store.changes({ from: Number(lsn) - 1, follow: false, tables: [items] })) {
      for await (const change of commit) if (commit.lsn === lsn && change.kind === 'delete') deleted++
    }
    expect(deleted).toBe(GONE - 3)
    await place.store.upsert(items, [item(5, 'again')])
    await place.store.deleteWhere(items, lt('id', ROWS))
    expect(await place.store.scan(items).count()).toBe(0)
    await place.kill()
    expect(await place.store.scan(items).count()).toBe(0)
  })

  it('given rows hidden while the vector was on its way, then those are told row by row, and nothing is lost or hidden twice', async () => {
    const place = await filled()
    const park = pointsOf(place).arm(FP.promote.after, { park: true })
    const deleting = place.store.deleteWhere(items, lt('id', GONE))
    await park.reached()
    await place.store.delete(items, [1, 30_000])
    await place.store.append(items, [item(-1)])
    park.release()
    expect((await deleting).rows).toBe(GONE)
    park[Symbol.dispose]()
    for (let round = 0; round < 2; round++) {
      expect(await place.store.scan(items).count()).toBe(ROWS - GONE - 1)
      expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
      await place.reopen()
    }
    expect(await place.staging()).toEqual([])
  })

  it('given a matching row hidden meanwhile, then the vector still says what is hidden', async () => {
    const place = await filled()
    const park = pointsOf(place).arm(FP.promote.after, { park: true })
    const deleting = place.store.deleteWhere(items, lt('id', GONE))
    await park.reached()
    await place.store.delete(items, 1)
    const bytes = (await place.store.stats()).log.bytes
    park.release()
    expect((await deleting).rows).toBe(GONE - 1)
    park[Symbol.dispose]()
    expect((await place.store.stats()).log.bytes - bytes).toBeLessThan(1000)
    await place.reopen()
    expect(await place.store.scan(items).count()).toBe(ROWS - GONE)
  })

  it('given an error or a kill at any step, then it is all there or nothing, and staging is empty', async () => {
    const points = [FP.intent.write, FP.intent.writeAfter, FP.stage.beforeFile, FP.stage.afterFile, FP.promote.before, FP.promote.after]
    for (const point of points) {
      const place = await filled()
      {
        using _armed = pointsOf(place).arm(point, { error: 'permission' })
        await expect(place.store.deleteWhere(items, lt('id', GONE))).rejects.toMatchObject({ class: 'permission' })
      }
      expect(await place.staging(), point).toEqual([])
      expect(await place.store.scan(items).count()).toBe(ROWS)
      const dead = Promise.withResolvers<void>()
      pointsOf(place).onCrash(() => dead.resolve())
      pointsOf(place).arm(point, { crash: true, mayMiss: true })
      void place.store.deleteWhere(items, lt('id', GONE)).catch(() => undefined)
      await dead.promise
      await place.kill()
      expect(await place.staging(), point).toEqual([])
      expect(await place.store.scan(items).count()).toBe(ROWS)
      await place.store.deleteWhere(items, lt('id', GONE))
      expect(await place.store.scan(items).count()).toBe(ROWS - GONE)
    }
  })

  it('under an idempotency key it happens once; an abort before its record leaves nothing', async () => {
    const place = await filled()
    const abort = new AbortController()
    const reason = new Error('enough')
    {
      using _armed = pointsOf(place).arm(FP.promote.before, { run: () => abort.abort(reason) })
      await expect(place.store.deleteWhere(items, lt('id', GONE), { signal: abort.signal })).rejects.toBe(reason)
    }
    expect(await place.staging()).toEqual([])
    const first = await place.store.deleteWhere(items, lt('id', GONE), { idempotencyKey: 'd' })
    const second = await place.store.deleteWhere(items, lt('id', GONE), { idempotencyKey: 'd' })
    expect([second.lsn, second.replayed, second.rows]).toEqual([first.lsn, true, GONE])
  })
})

async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const row of rows) all.push(row)
  return all
}

async function listed(place: Place, path: string): Promise<string[]> {
  const names: string[] = []
  for (const { name, isDirectory } of await place.files.readdir(path).catch(() => [])) {
    if (isDirectory) names.push(...(await listed(place, `${path}/${name}`)))
    else names.push(`${path}/${name}`)
  }
  return names.toSorted()
}

async function* failing<T>(rows: readonly T[], error: Error): AsyncGenerator<T> {
  yield* rows
  throw error
}
