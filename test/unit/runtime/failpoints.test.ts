// Failpoints, action by action (recovery.md section 15): each does what its name says, as often as it was told, to its own store and to no other.
import { setImmediate as turn } from 'node:timers/promises'

import { describe, expect, it, vi } from 'vitest'

import { CODES, ConflictError, type ErrorCode, FencedError, StorageError, VarveError } from '../../../bindings/errors.ts'
import { DirRoot, MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld, FAILPOINTS, FailpointError, FailpointRegistry, FP, NO_FAILPOINTS, PLANNED } from '../../../bindings/runtime/index.ts'
import { FakeClock, FakeFiles, fakeWorld, failpoints, FaultyRoot, rendezvous, stoppable } from '../../../bindings/testing/index.ts'

const POINT = FP.publish.beforeAppend

/** Whether a promise has settled after some turns of the event loop. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  promise.then(
    () => (settled = true),
    () => (settled = true),
  )
  for (let i = 0; i < 10; i++) await turn()
  return settled
}

async function namesIn(root: FaultyRoot): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) names.push(name)
  return names
}

describe('the catalogue', () => {
  it('prints each name as group.name, freezes them, and has none twice', () => {
    expect(FP.publish.beforeAppend).toBe('publish.beforeAppend')
    for (const [group, names] of Object.entries(FP)) {
      expect(Object.isFrozen(names)).toBe(true)
      for (const [name, text] of Object.entries(names)) expect(text).toBe(`${group}.${name}`)
    }
    expect(Object.isFrozen(FP)).toBe(true)
    expect(new Set(FAILPOINTS).size).toBe(FAILPOINTS.length)
    for (const name of PLANNED) expect(FAILPOINTS).toContain(name)
  })

  it('is the table of the specification, name for name', () => {
    expect(Object.fromEntries(Object.entries(FP).map(([group, names]) => [group, Object.keys(names).length]))).toEqual({
      intent: 7,
      stage: 5,
      seal: 2,
      promote: 3,
      publish: 5,
      retire: 3,
      sweep: 6,
      heal: 3,
      log: 17,
      checkpoint: 4,
      flush: 3,
      schema: 5,
      optimize: 6,
      merge: 4,
      branch: 4,
      vacuum: 3,
      open: 7,
      root: 9,
      ship: 20,
    })
  })

  it('refuses a name that is not in it', () => {
    const points = new FailpointRegistry()
    // @ts-expect-error the compiler refuses it too
    expect(() => points.arm('log.beforeSink', { error: 'io' })).toThrow(/no failpoint is called log.beforeSink/)
    // @ts-expect-error and at a site
    points.hitSync('log.beforeSink')
  })
})

describe('unarmed', () => {
  it('a world without a registry passes everything, and cannot be armed', async () => {
    expect([NO_FAILPOINTS.active, NO_FAILPOINTS.stopped, NO_FAILPOINTS.enabled(POINT)]).toEqual([false, false, false])
    await NO_FAILPOINTS.hit(POINT)
    NO_FAILPOINTS.hitSync(POINT)
    expect(await NO_FAILPOINTS.around(POINT, {}, async () => 7)).toBe(7)
    expect(NO_FAILPOINTS.aroundSync(POINT, {}, () => 8)).toBe(8)
    expect(() => failpoints(defaultWorld())).toThrow(FailpointError)
  })

  it('a registry is inactive until the first is armed and after the last is disposed', () => {
    const points = new FailpointRegistry()
    expect(points.active).toBe(false)
    const first = points.arm(POINT, { error: 'io', mayMiss: true })
    const second = points.arm(FP.log.roll, { error: 'io', mayMiss: true })
    first[Symbol.dispose]()
    expect(points.active).toBe(true)
    second[Symbol.dispose]()
    expect(points.active).toBe(false)
    points.hitSync(POINT)
  })
})

describe('error', () => {
  it('is a StorageError of the class, an error of the code, or the very error given', async () => {
    const points = new FailpointRegistry()
    const mine = new Error('mine')
    const thrown = async (error: 'space' | ErrorCode | Error): Promise<unknown> => {
      using _ = points.arm(POINT, { error })
      return points.hit(POINT).catch((cause: unknown) => cause)
    }
    expect(await thrown('space')).toMatchObject({ name: 'StorageError', class: 'space', code: 'root.space', kind: 'unavailable' })
    expect(await thrown('log.fenced')).toBeInstanceOf(FencedError)
    expect(await thrown('write.conflict')).toBeInstanceOf(ConflictError)
    expect(await thrown('root.not-found')).toMatchObject({ name: 'StorageError', class: 'notFound' })
    expect(await thrown(mine)).toBe(mine)
  })

  it.each(Object.keys(CODES) as ErrorCode[])('%s is thrown by the class that carries it', (code) => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { error: code })
    let error: unknown
    try {
      points.hitSync(POINT)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(VarveError)
    expect(error).toMatchObject({ code, name: CODES[code].class })
    if (CODES[code].class === 'StorageError') expect(error).toBeInstanceOf(StorageError)
  })

  it('comes before the effect that a site wraps', async () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { error: 'unavailable' })
    const effect = vi.fn<() => Promise<number>>(async () => 1)
    await expect(points.around(POINT, {}, effect)).rejects.toMatchObject({ code: 'root.unavailable' })
    expect(() => points.aroundSync(POINT, {}, effect)).toThrow(StorageError)
    expect(effect).not.toHaveBeenCalled()
  })
})

describe('errorAfterEffect', () => {
  it('lets the effect happen and loses its answer', async () => {
    const points = new FailpointRegistry()
    using armed = points.arm(POINT, { errorAfterEffect: 'timeout' })
    const effect = vi.fn<() => number>(() => 1)
    await expect(points.around(POINT, {}, async () => effect())).rejects.toMatchObject({ code: 'root.timeout' })
    expect(() => points.aroundSync(POINT, {}, effect)).toThrow(StorageError)
    expect([effect.mock.calls.length, armed.fired]).toEqual([2, 2])
  })

  it('gives way to an error of the effect itself', async () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { errorAfterEffect: 'timeout' })
    const effect = (): Promise<never> => Promise.reject(new Error('its own'))
    await expect(points.around(POINT, {}, effect)).rejects.toThrow('its own')
  })

  it('at a site that wraps nothing is a mistake of the test, told at once', async () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { errorAfterEffect: 'timeout' })
    await expect(points.hit(POINT)).rejects.toThrow(FailpointError)
    expect(() => points.hitSync(POINT)).toThrow(FailpointError)
  })

  it('of root.putIfAbsent leaves the object there', async () => {
    const world = fakeWorld()
    const root = new FaultyRoot(new MemoryRoot(), { failpoints: world.failpoints })
    using _ = failpoints(world).arm(FP.root.putIfAbsent, { errorAfterEffect: 'unknown', times: 1 })
    await expect(root.putIfAbsent('a', new Uint8Array([1]))).rejects.toMatchObject({ code: 'root.unknown' })
    expect(await root.putIfAbsent('a', new Uint8Array([2]))).toMatchObject({ status: 'exists' })
    expect([...(await root.get('a')).bytes]).toEqual([1])
  })
})

describe('crash', () => {
  it('stops the world: this arrival and all later ones never settle, and the hooks are called once', async () => {
    const points = new FailpointRegistry()
    const hook = vi.fn<() => void>()
    points.onCrash(hook)
    const crashed = points.crashed
    {
      using _ = points.arm(POINT, { crash: true })
      expect(await isSettled(points.hit(POINT))).toBe(false)
    }
    await crashed
    await points.crashed
    expect([points.stopped, points.active]).toEqual([true, true])
    expect(await isSettled(points.hit(FP.log.roll))).toBe(false)
    const effect = vi.fn<() => Promise<number>>(async () => 1)
    expect(await isSettled(points.around(FP.intent.write, {}, effect))).toBe(false)
    expect(effect).not.toHaveBeenCalled()
    expect(() => points.hitSync(POINT)).toThrow(/has stopped/)
    expect(() => points.aroundSync(POINT, {}, () => 1)).toThrow(/has stopped/)
    points.crash()
    expect(hook).toHaveBeenCalledTimes(1)
  })

  it('in a synchronous site does not come back', () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { crash: true })
    expect(() => points.hitSync(POINT)).toThrow(/has stopped/)
    expect(points.stopped).toBe(true)
  })

  it('also holds those that were delayed, parked or in their effect at that moment', async () => {
    const time = new FakeClock()
    const points = new FailpointRegistry(time.timers)
    using _slow = points.arm(FP.stage.afterFile, { delayMs: 10 })
    using parked = points.arm(FP.stage.afterSync, { park: true })
    let finish!: () => void
    const late = [
      points.hit(FP.stage.afterFile),
      points.hit(FP.stage.afterSync),
      points.around(FP.intent.write, {}, () => new Promise<void>((resolve) => (finish = resolve))),
    ]
    const settled = late.map(isSettled)
    await parked.reached()
    points.crash()
    await time.advance(20)
    parked.release()
    finish()
    expect(await Promise.all(settled)).toEqual([false, false, false])
  })

  it('silences files, timers and workers of a fake world, and only of that one', async () => {
    const disk = new FakeFiles()
    const time = new FakeClock()
    const dead = fakeWorld({ files: disk, clock: time, seed: 1 })
    const live = fakeWorld({ files: disk, clock: time, seed: 2 })
    const root = new DirRoot('/data/store', dead)
    await root.put('before', new Uint8Array([1]))
    const held = await dead.files.open('/data/store/before', 'r+')
    const ticks: string[] = []
    dead.timers.set(5, () => ticks.push('dead'))
    live.timers.set(5, () => ticks.push('live'))
    const asleep = dead.timers.sleep(5)
    const put = (async () => {
      using _ = failpoints(dead).arm(POINT, { crash: true })
      await failpoints(dead).hit(POINT)
    })()
    const told: unknown[] = []
    await turn()
    held.write(0, new Uint8Array([9]), (error) => told.push(error))
    held.datasync((error) => told.push(error))
    const calls: Promise<unknown>[] = [
      put,
      asleep,
      root.put('after', new Uint8Array([2])),
      root.get('before'),
      held.read(0, new Uint8Array(1)),
      held.sync(),
      held.close(),
    ]
    calls.push(dead.workers.run({ task: 'none', input: undefined }))
    const settled = calls.map(isSettled)
    await time.advance(10)
    expect((await Promise.all(settled)).map((each, i) => (i === 1 ? false : each))).toEqual(calls.map(() => false))
    expect(() => dead.files.statSync('/data/store/before')).toThrow(FailpointError)
    expect(() => held.writeSync(0, new Uint8Array([9]))).toThrow(FailpointError)
    expect([ticks, told]).toEqual([['live'], []])
    const other = new DirRoot('/data/store', live)
    expect([...(await other.get('before')).bytes]).toEqual([1])
    expect(await other.exists('after')).toBe(false)
  })

  it('silences a FaultyRoot over anything', async () => {
    const world = fakeWorld()
    const root = new FaultyRoot(new MemoryRoot(), { failpoints: world.failpoints })
    await root.put('a', new Uint8Array(1))
    const segment = await root.segment('log/1', { preallocate: 4096 })
    const held = await root.hold('a')
    const told: unknown[] = []
    segment.write(0, new Uint8Array(1), (error) => told.push(error))
    failpoints(world).crash()
    segment.write(0, new Uint8Array([9]), (error) => told.push(error))
    segment.datasync((error) => told.push(error))
    expect(() => segment.writeSync(0, new Uint8Array([9]))).toThrow(/has stopped/)
    expect(() => held.isCurrent()).toThrow(/has stopped/)
    for (const call of [segment.read(0, new Uint8Array(1)), segment.truncate(0), segment.close()]) expect(await isSettled(call)).toBe(false)
    expect(told).toEqual([])
    for (const call of [root.put('a', new Uint8Array(2)), root.exists('a'), root.get('a'), namesIn(root), root.deletePrefix('')]) {
      expect(await isSettled(call)).toBe(false)
    }
    expect(() => root.getSync('a')).toThrow(/has stopped/)
    expect((await root.inner.get('a')).bytes.length).toBe(1)
  })

  it('leaves a world that is not stopped as it was', async () => {
    const world = stoppable(fakeWorld())
    using _ = failpoints(world).arm(POINT, { error: 'io', mayMiss: true })
    const handle = await world.files.open('/data/f', 'wx')
    await new Promise<void>((resolve, reject) => handle.write(0, new Uint8Array([1, 2, 3]), (error) => (error === null ? resolve() : reject(error))))
    await handle.truncate(2)
    await handle.sync()
    expect((await handle.stat()).size).toBe(2)
    await expect(world.files.stat('/data/none')).rejects.toMatchObject({ code: 'ENOENT' })
    await handle.close()
  })
})

describe('delay', () => {
  it('waits on the clock of the world, then goes on with what else was asked', async () => {
    const time = new FakeClock()
    const points = new FailpointRegistry(time.timers)
    const mine = new Error('mine')
    let ran = 0
    using _ = points.arm(POINT, { delayMs: 50, run: () => ++ran, error: mine })
    const hit = points.hit(POINT).catch((error: unknown) => error)
    await time.advance(49)
    expect([await isSettled(hit), ran]).toEqual([false, 0])
    await time.advance(1)
    expect(await hit).toBe(mine)
    expect(ran).toBe(1)
  })

  it('is refused where nobody can wait', async () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { delayMs: 1 })
    expect(() => points.hitSync(POINT)).toThrow(/cannot wait/)
    await expect(points.hit(POINT)).rejects.toThrow(/needs the timers/)
  })
})

describe('run', () => {
  it('is given what the site says, is waited for, and may throw', async () => {
    const points = new FailpointRegistry()
    const seen: unknown[] = []
    using _ = points.arm(POINT, {
      run: async (context) => {
        await turn()
        seen.push(context)
        if (context['table'] === 'b') throw new Error('of the callback')
      },
    })
    await points.hit(POINT, { table: 'a' })
    expect(seen).toEqual([{ table: 'a' }])
    await expect(points.hit(POINT, { table: 'b' })).rejects.toThrow('of the callback')
  })

  it('may arm and disarm points itself', async () => {
    const points = new FailpointRegistry()
    using armed = points.arm(POINT, { run: () => points.arm(FP.publish.afterAppend, { error: 'io' }), times: 1 })
    await points.hit(POINT)
    await expect(points.hit(FP.publish.afterAppend)).rejects.toThrow(StorageError)
    expect(armed.fired).toBe(1)
  })
})

describe('park and rendezvous', () => {
  it('parks the first arrival, lets later ones pass, and goes on at release', async () => {
    const world = fakeWorld()
    const points = failpoints(world)
    using rv = rendezvous(world, POINT)
    const first = points.hit(POINT)
    await rv.reached({ timeoutMs: 10_000 })
    await points.hit(POINT)
    expect(await isSettled(first)).toBe(false)
    rv.release()
    await first
    expect([rv.hits, rv.fired]).toEqual([2, 1])
  })

  it('can wait for one that comes later, chosen by its context or its number', async () => {
    const world = fakeWorld()
    const points = failpoints(world)
    using rv = rendezvous(world, POINT, { when: (context) => context['table'] === 'b', after: 1 })
    const reached = rv.reached()
    await points.hit(POINT, { table: 'a' })
    await points.hit(POINT, { table: 'b' })
    expect(await isSettled(reached)).toBe(false)
    const parked = points.hit(POINT, { table: 'b' })
    await reached
    expect(await isSettled(parked)).toBe(false)
    rv.release()
    await parked
  })

  it('lets go at the end of its scope', async () => {
    const world = fakeWorld()
    let parked: Promise<void>
    {
      using rv = rendezvous(world, POINT)
      parked = failpoints(world).hit(POINT)
      await rv.reached()
    }
    await parked
  })

  it('released before anybody comes, it holds nobody', async () => {
    const world = fakeWorld()
    using rv = rendezvous(world, POINT)
    rv.release()
    await failpoints(world).hit(POINT)
    expect(rv.fired).toBe(1)
  })

  it('ends in a failure of the site and of the scope after 30 s of the world', async () => {
    const time = new FakeClock()
    const world = fakeWorld({ clock: time })
    const rv = rendezvous(world, POINT)
    const parked = failpoints(world).hit(POINT)
    const failed = parked.catch((error: unknown) => error)
    await time.advance(29_999)
    expect(await isSettled(parked)).toBe(false)
    await time.advance(1)
    expect(String(await failed)).toMatch(/parked for 30 s/)
    expect(() => rv[Symbol.dispose]()).toThrow(/not released/)
  })

  it('is bounded by the time of the machine too: a fake clock that nobody moves is no hang', async () => {
    using rv = new FailpointRegistry(new FakeClock().timers).arm(POINT, { park: true, mayMiss: true })
    await expect(rv.reached({ timeoutMs: 20 })).rejects.toThrow(/nobody arrived within 0.02 s/)
  })

  it('says when nobody came', async () => {
    const time = new FakeClock()
    using rv = rendezvous(fakeWorld({ clock: time }), POINT, { mayMiss: true })
    const failed = rv.reached({ timeoutMs: 100 }).catch((error: unknown) => error)
    await time.advance(100)
    expect(String(await failed)).toMatch(/publish.beforeAppend: nobody arrived within 0.1 s/)
    expect(time.pending).toBe(0)
  })

  it('is refused where nobody can wait', () => {
    const points = new FailpointRegistry()
    using _ = points.arm(POINT, { park: true })
    expect(() => points.hitSync(POINT)).toThrow(/cannot wait/)
  })
})

describe('enable', () => {
  it('switches a seam on for its scope, and is nothing to those who only arrive', async () => {
    const points = new FailpointRegistry()
    expect(points.enabled(FP.open.probe)).toBe(false)
    {
      using armed = points.arm(FP.open.probe, { enable: true, times: 2, when: (context) => context['of'] !== 'other' })
      await points.hit(FP.open.probe)
      expect([armed.hits, armed.fired]).toEqual([0, 0])
      expect(points.enabled(FP.open.probe, { of: 'other' })).toBe(false)
      expect([1, 2, 3].map(() => points.enabled(FP.open.probe))).toEqual([true, true, false])
    }
    expect(points.enabled(FP.open.probe)).toBe(false)
  })

  it('of root.link and root.syncDir makes any root one without them', async () => {
    const world = fakeWorld()
    const root = new FaultyRoot(new MemoryRoot(), { failpoints: world.failpoints })
    await root.put('a', new Uint8Array(1))
    expect(root.caps).toMatchObject({ hardLink: true, syncDir: root.inner.caps.syncDir })
    {
      using _link = failpoints(world).arm(FP.root.link, { enable: true })
      using _sync = failpoints(world).arm(FP.root.syncDir, { enable: true })
      expect(root.caps).toMatchObject({ hardLink: false, syncDir: false })
      expect(await root.probe()).toMatchObject({ hardLink: false, syncDir: false })
      await expect(root.link('a', 'b')).rejects.toMatchObject({ code: 'root.unsupported' })
      await expect(root.syncDir('')).rejects.toMatchObject({ code: 'root.unsupported' })
    }
    expect(await root.link('a', 'b')).toEqual({ status: 'created' })
  })
})

describe('modifiers', () => {
  it('after and times: passes some, acts so often, passes the rest', () => {
    const points = new FailpointRegistry()
    using armed = points.arm(POINT, { error: 'io', after: 2, times: 3 })
    const acted = Array.from({ length: 8 }, () => {
      try {
        points.hitSync(POINT)
        return 0
      } catch {
        return 1
      }
    })
    expect(acted).toEqual([0, 0, 1, 1, 1, 0, 0, 0])
    expect([armed.hits, armed.fired]).toEqual([8, 3])
  })

  it('when: arrivals that do not fit are not counted', () => {
    const points = new FailpointRegistry()
    using armed = points.arm(POINT, { error: 'io', after: 1, when: (context) => context['path'] === 'a' })
    points.hitSync(POINT, { path: 'b' })
    points.hitSync(POINT, { path: 'a' })
    points.hitSync(POINT, { path: 'b' })
    expect(() => points.hitSync(POINT, { path: 'a' })).toThrow(StorageError)
    expect([armed.hits, armed.fired]).toEqual([2, 1])
  })

  it('probability: a share of the arrivals, the same ones for the same seed', () => {
    const acted = (seed: number): string => {
      const points = new FailpointRegistry(undefined, { seed })
      let text = ''
      using _ = points.arm(POINT, { run: () => (text += '1'), probability: 0.25 })
      for (let i = 0; i < 2000; i++) {
        text += '.'
        points.hitSync(POINT)
      }
      return text
    }
    expect(acted(5)).toBe(acted(5))
    expect(acted(5)).not.toBe(acted(6))
    expect(acted(5).replaceAll('.', '').length).toBeGreaterThan(430)
    expect(acted(5).replaceAll('.', '').length).toBeLessThan(570)
  })

  it('several at one point act in the order of their arming', async () => {
    const points = new FailpointRegistry()
    const order: number[] = []
    using _one = points.arm(POINT, { run: () => order.push(1) })
    using _two = points.arm(POINT, { run: () => order.push(2), error: 'io' })
    using three = points.arm(POINT, { run: () => order.push(3), mayMiss: true })
    await expect(points.hit(POINT)).rejects.toThrow(StorageError)
    expect([order, three.hits]).toEqual([[1, 2], 1])
  })
})

describe('a point that never acted', () => {
  it('fails its scope, and says how often it was passed', () => {
    const points = new FailpointRegistry()
    const armed = points.arm(POINT, { error: 'io', after: 5 })
    points.hitSync(POINT)
    expect(() => armed[Symbol.dispose]()).toThrow(/publish.beforeAppend never acted \(1 arrivals\)/)
    expect(points.active, 'it is disarmed all the same').toBe(false)
  })

  it('is forgiven where the test says so', () => {
    points: {
      using _ = new FailpointRegistry().arm(POINT, { error: 'io', mayMiss: true })
      break points
    }
  })
})

describe('count', () => {
  it('tells which points a workload passes, armed or not', () => {
    const points = new FailpointRegistry()
    const seen = points.count()
    points.hitSync(FP.log.roll)
    points.hitSync(FP.log.roll)
    points.aroundSync(FP.intent.write, {}, () => 1)
    expect([...seen]).toEqual([
      [FP.log.roll, 2],
      [FP.intent.write, 1],
    ])
  })
})

describe('two worlds', () => {
  it('fail differently in one test, at one point, on one disk', async () => {
    const disk = new FakeFiles()
    const [a, b, c] = [1, 2, 3].map((seed) => fakeWorld({ files: disk, seed }))
    using _full = failpoints(a!).arm(FP.root.put, { error: 'space' })
    using _lost = failpoints(b!).arm(FP.root.put, { errorAfterEffect: 'timeout' })
    const rootOf = (world: typeof a): FaultyRoot => new FaultyRoot(new DirRoot('/data/store', world!), { failpoints: world!.failpoints })
    await expect(rootOf(a).put('a', new Uint8Array(1))).rejects.toMatchObject({ code: 'root.space' })
    await expect(rootOf(b).put('b', new Uint8Array(1))).rejects.toMatchObject({ code: 'root.timeout' })
    await rootOf(c).put('c', new Uint8Array(1))
    const names = await namesIn(rootOf(c))
    expect(names).toEqual(['b', 'c'])
  })
})
