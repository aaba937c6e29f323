// Gates (recovery.md section 8): order, abort, deadline, fairness; and no deadlock whatever is asked for.
import { describe, expect, it } from 'vitest'

import { Gates, type GateRequest, type HeldGates } from '../../../bindings/engine/gates.ts'
import { ContentionError, InvariantError } from '../../../bindings/errors.ts'
import { seededRandom, soon } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'

const turn = (): Promise<void> => new Promise((resolve) => soon(resolve))

function makeGates(): { gates: Gates; time: FakeClock } {
  const time = new FakeClock()
  return { gates: new Gates(time), time }
}

/** Whether it is there by now; it is given back at once. */
async function isFree(gates: Gates, request: GateRequest): Promise<boolean> {
  const abort = new AbortController()
  const taking = gates.take(request, { signal: abort.signal }).then(
    (held) => (held[Symbol.dispose](), true),
    () => false,
  )
  await turn()
  abort.abort()
  return taking
}

describe('gates', () => {
  it('an exclusive holder keeps everybody out of its gate and nobody out of another', async () => {
    const { gates } = makeGates()
    const held = await gates.take({ tables: [3] })
    expect(await isFree(gates, { tables: [3] })).toBe(false)
    expect(await isFree(gates, { tables: [4] })).toBe(true)
    expect(await isFree(gates, { schema: 'exclusive', branches: { mode: 'exclusive', ids: ['a'] } })).toBe(true)
    held[Symbol.dispose]()
    held[Symbol.dispose]()
    expect(await isFree(gates, { tables: [3] })).toBe(true)
  })

  it('shared holders are together, and keep an exclusive one out until the last has gone', async () => {
    const { gates } = makeGates()
    const one = await gates.take({ schema: 'shared' })
    const two = await gates.take({ schema: 'shared' })
    expect(await isFree(gates, { schema: 'exclusive' })).toBe(false)
    one[Symbol.dispose]()
    expect(await isFree(gates, { schema: 'exclusive' })).toBe(false)
    two[Symbol.dispose]()
    expect(await isFree(gates, { schema: 'exclusive' })).toBe(true)
  })

  it('waiters are served in the order they came, a shared one behind an exclusive one included', async () => {
    const { gates } = makeGates()
    const first = await gates.take({ schema: 'shared' })
    const log: string[] = []
    const wait = async (name: string, schema: 'shared' | 'exclusive'): Promise<void> => {
      using _held = await gates.take({ schema })
      log.push(name)
      await turn()
      log.push(`-${name}`)
    }
    const all = [wait('x', 'exclusive'), wait('a', 'shared'), wait('b', 'shared'), wait('y', 'exclusive')]
    await turn()
    expect(log).toEqual([])
    first[Symbol.dispose]()
    await Promise.all(all)
    expect(log).toEqual(['x', '-x', 'a', 'b', '-a', '-b', 'y', '-y'])
  })

  it('two requests for the same tables in other orders never wait for each other', async () => {
    const { gates } = makeGates()
    for (let round = 0; round < 50; round++) {
      const both = [gates.take({ tables: [1, 2] }), gates.take({ tables: [2, 1] })]
      for (const each of both) (await each)[Symbol.dispose]()
    }
  })

  it('taking a gate that comes before one held is refused at once; one behind is fine', async () => {
    const { gates } = makeGates()
    const cases: readonly [GateRequest, GateRequest][] = [
      [{ tables: [5] }, { tables: [4] }],
      [{ tables: [5] }, { tables: [5] }],
      [{ tables: [5] }, { branches: { mode: 'shared', ids: ['main'] } }],
      [{ branches: { mode: 'shared', ids: ['b'] } }, { branches: { mode: 'shared', ids: ['a'] } }],
      [{ branches: { mode: 'shared', ids: ['b'] } }, { schema: 'shared' }],
      [{ schema: 'exclusive' }, { schema: 'exclusive' }],
    ]
    for (const [first, second] of cases) {
      const held = await gates.take(first)
      await expect(held.extend(second)).rejects.toBeInstanceOf(InvariantError)
      await held.extend({ tables: [100] })
      expect(await isFree(gates, { tables: [100] })).toBe(false)
      held[Symbol.dispose]()
      expect(await isFree(gates, { ...first, tables: [100, ...(first.tables ?? [])] })).toBe(true)
      await expect(held.extend({ tables: [200] })).rejects.toBeInstanceOf(InvariantError)
    }
  })

  it('given an abort while it waits, then it rejects with the reason, holds nothing and stands in nobody’s way', async () => {
    const { gates } = makeGates()
    const shared = await gates.take({ schema: 'shared', tables: [9] })
    const abort = new AbortController()
    const reason = new Error('enough')
    const waiting = gates.take({ branches: { mode: 'exclusive', ids: ['main'] }, tables: [8, 9] }, { signal: abort.signal })
    const failed = waiting.catch((error: unknown) => error)
    await turn()
    expect(await isFree(gates, { tables: [8] })).toBe(false)
    abort.abort(reason)
    expect(await failed).toBe(reason)
    expect(await isFree(gates, { branches: { mode: 'exclusive', ids: ['main'] }, tables: [8] })).toBe(true)
    // An exclusive waiter that gives up lets the shared ones behind it in.
    const second = new AbortController()
    const exclusive = gates.take({ schema: 'exclusive' }, { signal: second.signal }).catch(() => undefined)
    let entered = false
    const behind = gates.take({ schema: 'shared' }).then((held) => ((entered = true), held))
    await turn()
    expect(entered).toBe(false)
    second.abort()
    await exclusive
    ;(await behind)[Symbol.dispose]()
    shared[Symbol.dispose]()
    await expect(gates.take({ tables: [1] }, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(await isFree(gates, { schema: 'exclusive', tables: [1, 8, 9] })).toBe(true)
  })

  it('given a deadline, then it counts for all gates together and the error names the gate', async () => {
    const { gates, time } = makeGates()
    const one = await gates.take({ tables: [1] })
    const two = await gates.take({ tables: [2] })
    const waiting = gates.take({ tables: [1, 2] }, { deadlineMs: 100 })
    const failed = waiting.catch((error: unknown) => error)
    await time.advance(60)
    one[Symbol.dispose]()
    await time.advance(39)
    expect(await isFree(gates, { tables: [1] })).toBe(false)
    await time.advance(2)
    expect(await failed).toBeInstanceOf(ContentionError)
    expect(await failed).toMatchObject({ message: 'the gate of table 2 was not free in time', code: 'write.contention', retryable: true })
    expect(await isFree(gates, { tables: [1] })).toBe(true)
    two[Symbol.dispose]()
    // In time: no timer is left behind.
    ;(await gates.take({ tables: [1, 2] }, { deadlineMs: 100 }))[Symbol.dispose]()
    expect(time.pending).toBe(0)
  })

  it('whatever is asked for and given up, nobody waits for ever and no two hold what excludes', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const { gates, time } = makeGates()
      const random = seededRandom(seed)
      const pick = <T>(values: readonly T[]): T => values[random.u32() % values.length]!
      const holders = new Map<string, { shared: number; exclusive: number }>()
      const note = (request: GateRequest, by: 1 | -1): void => {
        const names: [string, 'shared' | 'exclusive'][] = [...(request.tables ?? [])].map((id) => [`t${id}`, 'exclusive'])
        for (const id of request.branches?.ids ?? []) names.push([`b${id}`, request.branches!.mode])
        if (request.schema !== undefined) names.push(['schema', request.schema])
        for (const [name, mode] of names) {
          const held = holders.get(name) ?? { shared: 0, exclusive: 0 }
          held[mode] += by
          holders.set(name, held)
          expect(held.exclusive > 0 ? held.exclusive + held.shared : 1).toBe(1)
        }
      }
      let settled = 0
      const work = async (): Promise<void> => {
        const request: GateRequest = {
          ...(random.u32() % 3 === 0 ? { schema: pick(['shared', 'shared', 'exclusive'] as const) } : {}),
          ...(random.u32() % 2 === 0
            ? { branches: { mode: pick(['shared', 'exclusive'] as const), ids: new Set([pick(['a', 'b', 'c']), pick(['a', 'b', 'c'])]) } }
            : {}),
          tables: new Set([random.u32() % 4, random.u32() % 4].slice(random.u32() % 3)),
        }
        const abort = new AbortController()
        if (random.u32() % 4 === 0) setAbort(abort, random.u32() % 6)
        let held: HeldGates | undefined
        try {
          held = await gates.take(request, { signal: abort.signal, ...(random.u32() % 4 === 0 ? { deadlineMs: random.u32() % 20 } : {}) })
          note(request, 1)
          for (let turns = random.u32() % 4; turns > 0; turns--) await turn()
          note(request, -1)
        } catch (error) {
          expect(error === abort.signal.reason || error instanceof ContentionError).toBe(true)
        }
        held?.[Symbol.dispose]()
        settled++
      }
      const all = Promise.all(Array.from({ length: 60 }, work))
      for (let i = 0; i < 200 && settled < 60; i++) await time.advance(1)
      await all
      expect(time.pending).toBe(0)
      expect(await isFree(gates, { schema: 'exclusive', branches: { mode: 'exclusive', ids: ['a', 'b', 'c'] }, tables: [0, 1, 2, 3] })).toBe(true)
    }
  })
})

function setAbort(abort: AbortController, turns: number): void {
  if (turns === 0) abort.abort(new Error('aborted'))
  else soon(() => setAbort(abort, turns - 1))
}
