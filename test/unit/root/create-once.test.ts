// A create-if-absent whose answer may be lost: the table of roots.md section 4, row by row.
import { describe, expect, it } from 'vitest'

import { InvalidNameError, StorageError, type StorageErrorClass } from '../../../bindings/errors.ts'
import { createOnce, type CreateOnceOptions, MemoryRoot, readAgain } from '../../../bindings/root/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/fake-clock.ts'
import { FaultyRoot, type RootFault } from '../../../bindings/testing/faulty-root.ts'

const NAME = 'log/1'
const OURS = new Uint8Array(16).fill(7)
const THEIRS = new Uint8Array(16).fill(8)
const body = (attempt: Uint8Array): Uint8Array => Uint8Array.from([...attempt, 1, 2, 3])

/** A StorageError as a root throws it, with what it knows besides. */
function storage(cls: StorageErrorClass, more: object = {}): StorageError {
  return new StorageError(`${cls} (test)`, { details: { op: 'putIfAbsent', name: NAME, class: cls, ...more } })
}

interface Setup {
  readonly root: FaultyRoot
  readonly inner: MemoryRoot
  readonly clock: FakeClock
  run(o?: Partial<CreateOnceOptions>): Promise<{ readonly result?: { status: string }; readonly error?: StorageError; readonly tookMs: number }>
}

/** `puts` and `gets`: what happens to the n-th of each. */
function setup(o: { puts?: readonly (RootFault | undefined)[]; gets?: readonly (RootFault | undefined)[]; all?: RootFault; there?: Uint8Array } = {}): Setup {
  const clock = new FakeClock()
  const inner = new MemoryRoot({})
  if (o.there !== undefined) inner.putSync(NAME, o.there)
  const count = { putIfAbsent: 0, get: 0 }
  const root = new FaultyRoot(inner, {
    plan: ({ method }) => {
      if (method !== 'putIfAbsent' && method !== 'get') return undefined
      const list = method === 'get' ? o.gets : o.puts
      return list?.[count[method]++] ?? (method === 'putIfAbsent' ? o.all : undefined)
    },
  })
  return {
    root,
    inner,
    clock,
    async run(options = {}) {
      const startMs = clock.clock.monoMs()
      let settled: { result?: { status: string }; error?: StorageError } | undefined
      createOnce(root, NAME, body(OURS), { world: fakeWorld({ clock }), attempt: OURS, attemptOf: (bytes) => bytes.slice(0, 16), ...options }).then(
        (result) => (settled = { result }),
        (error: StorageError) => (settled = { error }),
      )
      while (settled === undefined) await clock.advance(10)
      return { ...settled, tookMs: clock.clock.monoMs() - startMs }
    },
  }
}

const puts = (root: FaultyRoot): number => root.calls.filter(({ method }) => method === 'putIfAbsent').length
const gets = (root: FaultyRoot): number => root.calls.filter(({ method }) => method === 'get').length
const lost: RootFault = { error: 'unknown', when: 'after' }
const noGets: readonly RootFault[] = Array.from({ length: 20 }, () => ({ error: 'unavailable' }))
const before = (cls: StorageErrorClass, more: object = {}): RootFault => ({ error: storage(cls, more) })

describe('createOnce', () => {
  it.each<{ row: string; o: Parameters<typeof setup>[0]; status: 'created' | 'exists'; puts: number; gets: number }>([
    { row: 'success', o: {}, status: 'created', puts: 1, gets: 0 },
    { row: 'exists, nothing sent before', o: { there: body(THEIRS) }, status: 'exists', puts: 1, gets: 0 },
    { row: 'exists after an unknown attempt, our id there', o: { puts: [lost] }, status: 'created', puts: 2, gets: 1 },
    { row: 'exists after an unknown attempt, another id there', o: { puts: [before('timeout')], there: body(THEIRS) }, status: 'exists', puts: 2, gets: 1 },
    { row: 'exists after an unknown attempt, garbage there', o: { puts: [before('timeout')], there: new Uint8Array(0) }, status: 'exists', puts: 2, gets: 1 },
    { row: 'exists after an unknown attempt, then not found', o: { puts: [lost], gets: [before('notFound')] }, status: 'created', puts: 3, gets: 2 },
    { row: 'exists after an unknown attempt, the read fails once', o: { puts: [lost], gets: [before('unavailable')] }, status: 'created', puts: 3, gets: 2 },
    { row: '409 three times, then success', o: { puts: Array.from({ length: 3 }, () => before('precondition')) }, status: 'created', puts: 4, gets: 0 },
    {
      row: '409 three times, then exists',
      o: { puts: Array.from({ length: 3 }, () => before('precondition')), there: body(THEIRS) },
      status: 'exists',
      puts: 4,
      gets: 0,
    },
    { row: '503 not executed', o: { puts: [before('unavailable')] }, status: 'created', puts: 2, gets: 0 },
    { row: '503 that was executed', o: { puts: [{ error: storage('unavailable'), when: 'after' }] }, status: 'created', puts: 2, gets: 1 },
    { row: 'a timeout that was executed', o: { puts: [{ error: storage('timeout'), when: 'after' }] }, status: 'created', puts: 2, gets: 1 },
    { row: 'connection refused: nothing was sent', o: { puts: [before('unavailable', { sent: false })] }, status: 'created', puts: 2, gets: 0 },
    { row: 'connection refused, then exists', o: { puts: [before('unavailable', { sent: false })], there: body(OURS) }, status: 'exists', puts: 2, gets: 0 },
    { row: 'digest refused once', o: { puts: [before('corrupt')] }, status: 'created', puts: 2, gets: 0 },
    {
      row: 'a directory sync that failed after the name was given',
      o: { puts: [{ error: storage('io'), when: 'after' }] },
      status: 'created',
      puts: 2,
      gets: 1,
    },
    { row: 'every request fails, and the object is there', o: { all: { error: 'timeout', when: 'after' } }, status: 'created', puts: 8, gets: 1 },
    { row: 'a full device that gave the name', o: { puts: [{ error: storage('space'), when: 'after' }] }, status: 'created', puts: 1, gets: 1 },
  ])('$row: $status', async ({ o, status, puts: expectedPuts, gets: expectedGets }) => {
    const { root, inner, run } = setup(o)
    const { result, error } = await run()
    expect(error).toBeUndefined()
    expect(result!.status).toBe(status)
    expect([puts(root), gets(root)]).toEqual([expectedPuts, expectedGets])
    if (status === 'created') expect((await inner.get(NAME)).bytes).toEqual(body(OURS))
  })

  it.each<{ row: string; o: Parameters<typeof setup>[0]; cls: StorageErrorClass; puts: number }>([
    { row: 'deadline without an unknown attempt: its error', o: { all: before('unavailable', { sent: false }) }, cls: 'unavailable', puts: 8 },
    { row: '409 for ever', o: { all: before('precondition') }, cls: 'precondition', puts: 8 },
    { row: 'deadline with an unknown attempt', o: { all: before('unavailable') }, cls: 'unknown', puts: 8 },
    {
      row: 'a lost answer and refused connections behind it',
      o: { puts: [lost], gets: noGets, all: before('unavailable', { sent: false }) },
      cls: 'unknown',
      puts: 8,
    },
    { row: 'digest refused twice', o: { all: before('corrupt') }, cls: 'corrupt', puts: 2 },
    { row: 'digest refused twice after a lost answer', o: { puts: [lost], gets: noGets, all: before('corrupt') }, cls: 'unknown', puts: 3 },
    { row: 'permission', o: { all: before('permission') }, cls: 'permission', puts: 1 },
    { row: 'permission after a lost answer', o: { puts: [lost], gets: noGets, all: before('permission') }, cls: 'unknown', puts: 2 },
    { row: 'no such bucket', o: { all: before('notFound') }, cls: 'notFound', puts: 1 },
    { row: 'a full device that gave no name', o: { all: before('space') }, cls: 'space', puts: 1 },
  ])('$row: StorageError $cls', async ({ o, cls, puts: expectedPuts }) => {
    const { root, run } = setup(o)
    const { error } = await run()
    expect(error).toBeInstanceOf(StorageError)
    expect(error!.class).toBe(cls)
    expect(puts(root)).toBe(expectedPuts)
    if (cls !== 'unknown') return
    expect(error!.details).toMatchObject({ name: NAME, attempt: OURS })
    expect(error!.retryable).toBe(false)
  })

  it('Given the read-back fails until the deadline, then the outcome is unknown, and a later call with the same id tells it', async () => {
    const { root, run } = setup({ puts: [lost], gets: noGets })
    expect((await run()).error!.class).toBe('unknown')
    root.plan(undefined)
    expect((await run({ unknown: true })).result).toMatchObject({ status: 'created' })
  })

  it('Given another writer took the name meanwhile, then a later call with the same id says exists', async () => {
    const { root, inner, run } = setup({ all: before('timeout') })
    expect((await run()).error!.class).toBe('unknown')
    root.plan(undefined)
    inner.putSync(NAME, body(THEIRS))
    expect((await run({ unknown: true })).result).toMatchObject({ status: 'exists' })
  })

  it('Given a delayed first request that executes after the retry won, then it meets exists and one object is there', async () => {
    const { inner, run } = setup({ puts: [before('timeout')] })
    expect((await run()).result!.status).toBe('created')
    expect(await inner.putIfAbsent(NAME, body(OURS))).toEqual({ status: 'exists' })
  })

  it('asks at most 8 times, and never past the deadline', async () => {
    const eight = await setup({ all: before('unavailable') }).run()
    // Full jitter of 50 ms doubling: at most 50 + 100 + ... + 3,200 in all.
    expect(eight.tookMs).toBeLessThanOrEqual(6_360)
    const short = setup({ all: before('unavailable') })
    const { error, tookMs } = await short.run({ retry: { attempts: 1000, baseMs: 50, capMs: 200, deadlineMs: 2_000 } })
    expect(error!.class).toBe('unknown')
    expect(tookMs).toBeLessThanOrEqual(2_010)
    expect(puts(short.root)).toBeGreaterThan(8)
  })

  it('waits as long as the place asks, up to capMs', async () => {
    const asked = setup({ puts: [before('unavailable', { retryAfterMs: 3_000 })] })
    expect((await asked.run()).tookMs).toBeGreaterThanOrEqual(3_000)
    const capped = setup({ puts: [before('unavailable', { retryAfterMs: 60_000 })] })
    expect((await capped.run()).tookMs).toBeLessThanOrEqual(5_010)
  })

  it('the same seed waits the same', async () => {
    const times = await Promise.all([1, 2].map(async () => (await setup({ all: before('unavailable') }).run()).tookMs))
    expect(times[0]).toBe(times[1])
  })

  it('an illegal name is refused at once; an abort before the first request throws its reason, one after it leaves the outcome unknown', async () => {
    const { inner, clock, root, run } = setup()
    const o = { world: fakeWorld({ clock }), attempt: OURS, attemptOf: () => undefined }
    await expect(createOnce(inner, '../up', body(OURS), o)).rejects.toThrow(InvalidNameError)
    const early = AbortSignal.abort(new DOMException('early', 'AbortError'))
    await expect(createOnce(root, NAME, body(OURS), { ...o, signal: early })).rejects.toThrow('early')
    expect(puts(root)).toBe(0)
    const late = new AbortController()
    root.plan(({ method }) =>
      method === 'putIfAbsent' ? { ...before('timeout'), wait: async () => late.abort(new DOMException('late', 'AbortError')) } : undefined,
    )
    const { error } = await run({ signal: late.signal })
    expect(error!.class).toBe('unknown')
  })
})

describe('readAgain', () => {
  it('reads again while the place is unavailable, and passes every other error on at once', async () => {
    const clock = new FakeClock()
    const world = fakeWorld({ clock })
    let reads = 0
    let settled: unknown
    void readAgain(world, async () => {
      if (++reads < 4) throw storage('unavailable')
      return 'there'
    }).then((value) => (settled = value))
    while (settled === undefined) await clock.advance(10)
    expect([settled, reads]).toEqual(['there', 4])
    await expect(readAgain(world, () => Promise.reject(storage('permission')))).rejects.toMatchObject({ class: 'permission' })
    await expect(readAgain(world, () => Promise.reject(storage('notFound')))).rejects.toMatchObject({ class: 'notFound' })
  })
})
