// How groups are formed: by company, by bounds, in order; what may be taken back; what ends it. The sink is a fake that finishes when it is told.
import { describe, expect, it } from 'vitest'

import { LsnTakenError, PoisonedError, StorageError } from '../../../bindings/errors.ts'
import { type LogRecord, lsn, type Lsn } from '../../../bindings/log/index.ts'
import type { GroupBuffer } from '../../../bindings/log/group-buffer.ts'
import { GroupCommit, type GroupSink } from '../../../bindings/log/group-commit.ts'
import { seededRandom, soon } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/fake-clock.ts'
import { Host } from '../../contract/segment-log-helpers.ts'

const one = (size = 8): LogRecord[] => [{ kind: 2, payload: new Uint8Array(size) }]
const space = () => new StorageError('no room', { details: { op: 'segment', name: 'x', class: 'space' } })
const turn = () => new Promise<void>((resolve) => soon(resolve))

class FakeSink implements GroupSink {
  readonly epoch = 1
  seed = 5n
  short: StorageError | undefined
  room = Infinity
  readonly groups: [first: number, last: number][] = []
  #done: ((error: Error | null) => void) | undefined

  commit(group: GroupBuffer, done: (error: Error | null) => void): void {
    expect(this.#done, 'one write in flight').toBeUndefined()
    this.groups.push([group.first, group.last])
    this.#done = done
  }

  get busy(): boolean {
    return this.#done !== undefined
  }

  finish(error: Error | null = null): void {
    const done = this.#done!
    this.#done = undefined
    done(error)
  }
}

function make(groupCommitMs = 0): { sink: FakeSink; commit: GroupCommit; clock: FakeClock; told: number[] } {
  const sink = new FakeSink()
  const clock = new FakeClock()
  const commit = new GroupCommit(sink, { head: 0, groupCommitMs, timers: clock.timers })
  const told: number[] = []
  commit.listen({ durable: (last) => void told.push(Number(last)), failed: () => {}, rejected: () => {} })
  return { sink, commit, clock, told }
}

describe('groups', () => {
  it('a lone writer starts no timer and waits for nobody', async () => {
    const { sink, commit, clock } = make()
    void commit.append(one())
    await turn()
    expect(sink.groups).toEqual([[1, 1]])
    expect(clock.pending).toBe(0)
  })

  it('committers that resolve together come back in one group', async () => {
    const { sink, commit } = make()
    let left = 256 * 4
    const work = async () => {
      while (left-- > 0) await commit.append(one())
    }
    const all = Promise.all(Array.from({ length: 256 }, work))
    for (let i = 0; i < 4; i++) {
      await turn()
      sink.finish()
    }
    await all
    expect(sink.groups).toEqual([0, 1, 2, 3].map((i) => [i * 256 + 1, i * 256 + 256]))
  })

  it('what comes while one is written forms the next', async () => {
    const { sink, commit, told } = make()
    commit.submit(one(), undefined)
    await turn()
    for (let i = 0; i < 5; i++) commit.submit(one(), undefined)
    await turn()
    expect(sink.groups).toEqual([[1, 1]])
    sink.finish()
    await turn()
    sink.finish()
    expect(sink.groups).toEqual([
      [1, 1],
      [2, 6],
    ])
    expect(told).toEqual([1, 6])
  })

  it('is closed by 1 024 records or 4 MiB; an append over the bound goes alone; order holds', async () => {
    const { sink, commit } = make()
    for (let i = 0; i < 1500; i++) commit.submit(one(), undefined)
    for (let i = 0; i < 5; i++) commit.submit(one(1 << 20), undefined)
    commit.submit(one(5 << 20), undefined)
    commit.submit(
      Array.from({ length: 2000 }, () => one()[0]!),
      undefined,
    )
    commit.submit(one(), undefined)
    const flushed = commit.flush()
    while (commit.head < commit.submitted) {
      if (sink.busy) sink.finish()
      await turn()
    }
    await flushed
    let next = 1
    for (const [first, last] of sink.groups) {
      expect(first).toBe(next)
      next = last + 1
    }
    expect(next).toBe(1500 + 5 + 1 + 2000 + 1 + 1)
    const sizes = sink.groups.map(([first, last]) => last - first + 1)
    expect(sizes[0]).toBe(1024)
    expect(sizes).toContain(2000)
    expect(Math.max(...sizes.filter((size) => size !== 2000))).toBeLessThanOrEqual(1024)
  })

  it('groupCommitMs holds a group open for company, flush does not wait for it', async () => {
    const { sink, commit, clock } = make(10)
    commit.submit(one(), undefined)
    await clock.advance(9)
    commit.submit(one(), undefined)
    expect(sink.groups).toEqual([])
    await clock.advance(1)
    expect(sink.groups).toEqual([[1, 2]])
    sink.finish()
    commit.submit(one(), undefined)
    void commit.flush()
    expect(sink.groups).toHaveLength(2)
  })

  it('checks `expect` against what was submitted, not what is durable', () => {
    const { commit } = make()
    commit.submit(one(), lsn(0))
    commit.submit(one(), lsn(1))
    expect(() => commit.submit(one(), lsn(1))).toThrow(LsnTakenError)
    expect(commit.submitted).toBe(2)
  })
})

describe('taking back', () => {
  it('an append with a signal gives way until its group is formed', async () => {
    const { sink, commit } = make()
    commit.submit(one(), undefined)
    await turn()
    const controllers = Array.from({ length: 3 }, () => new AbortController())
    const appends = controllers.map(({ signal }) => commit.append(one(), { signal }))
    const outcomes = Promise.allSettled(appends)
    expect(commit.submitted).toBe(1)
    controllers[1]!.abort(new Error('gone'))
    sink.finish()
    await turn()
    controllers[2]!.abort(new Error('too late'))
    expect(sink.groups[1]).toEqual([2, 3])
    sink.finish()
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('checks the expectation of such an append when its group is formed', async () => {
    const { sink, commit } = make()
    const signal = new AbortController().signal
    const stale = commit.append(one(), { expect: lsn(0), signal })
    commit.submit(one(), undefined)
    await expect(stale).rejects.toBeInstanceOf(LsnTakenError)
    expect(sink.groups).toEqual([[1, 1]])
  })

  it('without room everything from the refused group on is taken back, and its LSNs are used again', async () => {
    const { sink, commit } = make()
    const rejected: Lsn[] = []
    commit.listen({ durable: () => {}, failed: () => expect.unreachable(), rejected: (first) => void rejected.push(first) })
    commit.submit(one(), undefined)
    await turn()
    const waiting = Array.from({ length: 3 }, () => commit.append(one()).catch((error: unknown) => error))
    sink.finish()
    await turn()
    commit.submit(one(), undefined)
    sink.finish(space())
    for (const outcome of await Promise.all(waiting)) expect(outcome).toMatchObject({ class: 'space' })
    expect(rejected).toEqual([2n])
    expect([commit.head, commit.submitted]).toEqual([1, 1])
    expect(commit.submit(one(), undefined).first).toBe(2n)
    await turn()
    sink.finish()
    expect(commit.head).toBe(2)
  })

  it('while there is no room, what surely fits is accepted and the rest refused before any work', () => {
    const { sink, commit } = make()
    sink.short = space()
    sink.room = 100
    commit.submit(one(), undefined)
    commit.submit(one(), undefined)
    expect(() => commit.submit(one(), undefined)).toThrow(StorageError)
    expect(commit.submitted).toBe(2)
  })
})

describe('the end', () => {
  it('rejects what waits and what comes, in the flight, in the group and behind it', async () => {
    const { sink, commit, told } = make()
    const failures: Error[] = []
    commit.listen({ durable: () => {}, failed: (error) => void failures.push(error) })
    const flying = commit.append(one())
    await turn()
    const others = [commit.append(one()), commit.append(one(5 << 20)), commit.append(one(), { signal: new AbortController().signal }), commit.flush()]
    sink.finish(new PoisonedError('x'))
    for (const promise of [flying, ...others]) await expect(promise).rejects.toBeInstanceOf(PoisonedError)
    expect(() => commit.submit(one(), undefined)).toThrow(PoisonedError)
    expect(failures).toHaveLength(1)
    expect(told).toEqual([])
    await turn()
    expect(sink.groups).toHaveLength(1)
  })

  it('seeds: any mix of submits, appends, aborts and failures keeps order and loses nothing', async () => {
    for (let seed = 1; seed <= 100; seed++) await mixed(seed)
  })
})

async function mixed(seed: number): Promise<void> {
  const { sink, commit, told } = make()
  const random = seededRandom(seed)
  const below = (n: number) => random.u32() % n
  const resolved: bigint[] = []
  let open = 0
  for (let step = 0; step < 60; step++) {
    const kind = below(10)
    const size = below(30) === 0 ? 200_000 + below(5 << 20) : below(400)
    if (kind < 3)
      commit.submit(
        Array.from({ length: 1 + below(3) }, () => one(size)[0]!),
        undefined,
      )
    else if (kind < 8) {
      const controller = kind === 7 ? new AbortController() : undefined
      open++
      commit.append(one(size), controller === undefined ? {} : { signal: controller.signal }).then(
        ({ last }) => {
          open--
          resolved.push(last)
        },
        () => open--,
      )
      if (controller !== undefined && below(2) === 0) controller.abort(new Error('x'))
    } else if (sink.busy) sink.finish(below(12) === 0 ? space() : null)
    if (below(3) === 0) await turn()
  }
  for (let turns = 0; turns < 200 && (commit.head < commit.submitted || open > 0); turns++) {
    if (sink.busy) sink.finish()
    await turn()
  }
  await turn()
  expect([commit.head, open], `seed ${seed}`).toEqual([commit.submitted, 0])
  expect(resolved, `seed ${seed}: resolved in LSN order`).toEqual([...resolved].sort((a, b) => Number(a - b)))
  expect(new Set(resolved).size).toBe(resolved.length)
  expect(told, `seed ${seed}: groups in order`).toEqual([...told].sort((a, b) => a - b))
}

it('one write and one data sync per commit of a lone writer', async () => {
  const host = new Host()
  const log = await host.open(host.process(), { segmentBytes: 65_536 })
  await log.append(one())
  // The next segment is prepared beside the commit path after the first commit.
  for (let i = 0; i < 5; i++) await host.clock.advance(1)
  const before = host.files.calls.length
  for (let i = 0; i < 20; i++) await log.append(one())
  const ops = host.files.calls.slice(before).map(({ op }) => op)
  expect(ops.filter((op) => op === 'write')).toHaveLength(20)
  expect(ops.filter((op) => op === 'datasync')).toHaveLength(20)
  expect(
    ops.filter((op) => op === 'stat'),
    'one look at the LOCK',
  ).toHaveLength(20)
  expect(ops).toHaveLength(60)
  expect(host.clock.pending).toBe(0)
})
