// The LOCK explored whole, each of its rules left out once, and random schedules of the model replayed against bindings/log/lock.ts, call by call.
import { expect, test } from 'vitest'

import { type Lock, takeLock } from '../../bindings/log/lock.ts'
import { StorageError } from '../../bindings/errors.ts'
import { MemoryRoot, type Root } from '../../bindings/root/index.ts'
import { seededRandom, type World } from '../../bindings/runtime/index.ts'
import { fakeWorld } from '../../bindings/testing/index.ts'
import { describe as text, explore, LARGE, summary, walk } from './explore.ts'
import { isCurrent, LOCK_RULES, type LockBounds, lockModel, type LockRules, type LockState, OWNER, type Phase } from './lock.ts'

const RIGHT: LockBounds = { openers: 3, opens: 1, appends: 1, kills: LARGE ? 3 : 2, wrongGuesses: 0, symmetric: true }
const WRONG: LockBounds = { openers: 3, opens: 1, appends: 1, kills: LARGE ? 2 : 1, wrongGuesses: LARGE ? 2 : 1, symmetric: true }

test.each([
  ['no owner that lives is taken for dead: it never loses its LOCK', RIGHT],
  ['owners that live are taken for dead: still one owner, one epoch each, nothing acknowledged is lost, an open succeeds', WRONG],
])('%s', (_, bounds) => {
  const found = explore(lockModel(bounds), { maxStates: 10_000_000 })
  console.log(summary(found))
  expect(found.violation, text(found)).toBeUndefined()
  expect(found.complete).toBe(true)
})

const TEETH: readonly [keyof LockRules, LockBounds][] = [
  ['looks', WRONG],
  ['checks', WRONG],
  ['identity', WRONG],
  ['clearsFirst', WRONG],
  ['keepsHighest', RIGHT],
  ['floorFirst', RIGHT],
  ['unlinksFree', WRONG],
]

test.each(TEETH)('without the rule "%s" a schedule breaks it', (rule, bounds) => {
  const found = explore(lockModel({ ...bounds, wrongGuesses: bounds === WRONG ? 2 : 0 }, { ...LOCK_RULES, [rule]: false }), { readable: false })
  expect(found.violation).toBeDefined()
  console.log(`  without ${rule}: ${found.violation!.what}, ${found.violation!.schedule.length - 1} steps, ${found.states} states`)
})

test('random schedules of the model, replayed against the code: the same calls, the same files, the same verdicts', async () => {
  const seed = Number(process.env['VARVE_SEED'] ?? 1)
  const walks = LARGE ? 5000 : 400
  const model = lockModel({ openers: 3, opens: 3, appends: 1, kills: 3, wrongGuesses: 3 })
  let steps = 0
  for (let i = 0; i < walks; i++) {
    const schedule: { label: string; state: LockState }[] = []
    walk(model, seededRandom(seed * 100_003 + i), 150, (label, state) => schedule.push({ label, state }))
    const replay = new Replay(model.start)
    for (const { label, state } of schedule) {
      steps++
      try {
        await replay.follow(label, state)
      } catch (error) {
        throw new Error(`walk ${i} of seed ${seed}: ${schedule.map((entry) => entry.label).join('\n')}`, { cause: error })
      }
    }
  }
  console.log(`  ${walks} schedules replayed, ${steps} steps`)
  expect(steps).toBeGreaterThan(walks * 20)
})

/** The call that the code waits in, by phase of the model. */
const CALLS: Partial<Record<Phase, string>> = {
  floor: 'floor',
  list: 'list',
  read: 'get',
  create: 'putIfAbsent',
  hold: 'hold',
  verify: 'get',
  relist: 'list',
  clear: 'delete',
  abandon: 'delete',
  winner: 'get',
  release: 'put',
}

/** Three processes of the code, each let through one call at a time. */
class Replay {
  readonly #root = new MemoryRoot()
  readonly #actors: Actor[]
  #state: LockState

  constructor(start: LockState) {
    this.#state = start
    this.#actors = start.procs.map((_, i) => new Actor(this.#root, i, 0, this.#alive))
  }

  readonly #alive = (pid: number): boolean => this.#state.procs[Math.floor(pid / 10) - 1]!.life === pid % 10

  async follow(label: string, next: LockState): Promise<void> {
    const i = 'ABC'.indexOf(label[0]!)
    const before = this.#state.procs[i]!
    const after = next.procs[i]!
    const actor = this.#actors[i]!
    const floor = Math.max(this.#state.node, ...this.#state.segments.map(({ epoch }) => epoch))
    if (after.life !== before.life) {
      this.#actors[i] = new Actor(this.#root, i, after.life, this.#alive)
    } else if (before.phase === 'idle') {
      await actor.open(() => floor)
    } else if (OWNER.has(before.phase)) {
      if (!OWNER.has(after.phase)) await actor.giveBack()
    } else {
      await actor.step(floor, label.includes('takes its living owner for dead'))
    }
    this.#state = next
    await this.#compare()
  }

  async #compare(): Promise<void> {
    const files: string[] = []
    for await (const { name } of this.#root.list('', { after: 'LOCK.' })) {
      const fields = new TextDecoder().decode((await this.#root.get(name)).bytes)
      files.push(`${name} ${fields.includes('"released":true') ? 'released' : /"pid":(\d+)/.exec(fields)![1]}`)
    }
    const want = this.#state.locks.map(({ n, by, life }) => `LOCK.${n} ${by < 0 ? 'released' : pidOf(by, life)}`)
    expect(files).toEqual(want)
    this.#state.procs.forEach((proc, i) => {
      const actor = this.#actors[i]!
      if (OWNER.has(proc.phase)) {
        expect(actor.lock?.epoch).toBe(proc.number)
        expect(actor.lock!.isCurrent()).toBe(isCurrent(this.#state, proc, LOCK_RULES))
      } else {
        expect(actor.waitsIn, `${'ABC'[i]} in phase ${proc.phase}`).toBe(CALLS[proc.phase])
      }
    })
  }
}

function pidOf(i: number, life: number): number {
  return (i + 1) * 10 + life
}

class Actor {
  lock: Lock | undefined
  readonly #world: World
  readonly #root: Root
  #parked: { call: string; go: () => void } | undefined
  #changed: (() => void) | undefined
  #floor = (): number => 0
  #guess = false

  constructor(root: MemoryRoot, i: number, life: number, alive: (pid: number) => boolean) {
    const base = fakeWorld({ seed: pidOf(i, life), host: { pid: pidOf(i, life), isAlive: (pid) => (this.#guess ? false : alive(pid)) } })
    this.#world = { ...base, timers: { ...base.timers, sleep: async () => {} } }
    this.#root = this.#gated(root)
  }

  get waitsIn(): string | undefined {
    return this.#parked?.call
  }

  async open(floor: () => number): Promise<void> {
    this.#floor = floor
    let asked = 0
    await this.#until(() => {
      takeLock(this.#root, this.#world, {
        retry: { delaysMs: [0], cleanupStale: true },
        epochFloor: async () => {
          // The first attempt takes no dead owner's place: it ends here.
          if (asked++ === 0) throw new StorageError('not yet', { details: { op: 'get', name: 'NODE', class: 'unavailable' } })
          await this.#gate('floor')
          return this.#floor()
        },
      }).then(
        (lock) => {
          this.lock = lock
          this.#changed?.()
        },
        () => this.#changed?.(),
      )
    })
  }

  async step(floor: number, guess: boolean): Promise<void> {
    this.#floor = () => floor
    this.#guess = guess
    const parked = this.#parked!
    this.#parked = undefined
    await this.#until(parked.go)
    this.#guess = false
  }

  async giveBack(): Promise<void> {
    await this.#until(() => {
      void this.lock!.release().then(() => this.#changed?.())
    })
    this.lock = undefined
  }

  /** Until it waits in the next call, or ended. */
  #until(start: () => void): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#changed = resolve
      start()
    })
  }

  #gate(call: string): Promise<void> {
    return new Promise((go) => {
      this.#parked = { call, go }
      this.#changed?.()
    })
  }

  #gated(root: MemoryRoot): Root {
    const gate = (call: string): Promise<void> => this.#gate(call)
    return new Proxy<Root>(root, {
      get(target, property: keyof MemoryRoot) {
        if (property === 'list') {
          return async function* (...args: Parameters<Root['list']>) {
            await gate('list')
            const found = []
            for await (const info of target.list(...args)) found.push(info)
            yield* found
          }
        }
        if (property === 'delete') {
          return async (names: string | readonly string[]) => {
            for (const name of [names].flat()) {
              await gate('delete')
              await target.delete(name)
            }
          }
        }
        return async (...args: never[]) => {
          await gate(String(property))
          return (target[property as 'get'] as (...args: never[]) => unknown).apply(target, args)
        }
      },
    })
  }
}
