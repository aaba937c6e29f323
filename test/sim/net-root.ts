// A root as one process sees an object store over a network: every request takes time, and a share of them goes wrong, by a seed and on virtual time.
//
// Faults: a request lost on its way, an answer lost on its way back, a request that is executed late, 503 (executed or not), 409, a 404 for a slot that is there, a
// listing without its newest names. Invariant: what is executed is executed at once and whole, as an object store does it.
import { StorageError, type StorageErrorClass } from '../../bindings/errors.ts'
import type { GetOptions, MemoryRoot, ObjectInfo, PutOptions } from '../../bindings/root/index.ts'
import type { World } from '../../bindings/runtime/index.ts'
import { FaultyRoot, type RootMethod } from '../../bindings/testing/faulty-root.ts'

export interface NetOptions {
  readonly world: Pick<World, 'timers' | 'random'>
  /** Share of requests that go wrong, 0..1. */
  readonly faults: number
  /** Longest way to the store and back, each, in ms. Default 10. */
  readonly wayMs?: number
}

type Fault = 'lostRequest' | 'lostAnswer' | 'late' | 'busy' | 'busyExecuted' | 'conflict' | 'notThere' | 'staleList'

const FAULTS: Readonly<Partial<Record<RootMethod, readonly Fault[]>>> = {
  get: ['lostRequest', 'lostAnswer', 'busy', 'notThere'],
  put: ['lostRequest', 'lostAnswer', 'late', 'busy', 'busyExecuted'],
  putIfAbsent: ['lostRequest', 'lostAnswer', 'late', 'busy', 'busyExecuted', 'conflict'],
  delete: ['lostRequest', 'lostAnswer', 'late', 'busy'],
  list: ['lostRequest', 'busy', 'staleList'],
}
const LATE_MS = 4_000
const STALE_NAMES = 50

export class NetRoot extends FaultyRoot {
  /** Requests that went wrong, by kind. */
  readonly faulted: Fault[] = []
  /** The process is gone: no request of it is answered or begun; those that are under way may still be executed. */
  dead = false
  /** Requests wait for it: a process that stands still. */
  parked: Promise<void> | undefined
  readonly #o: NetOptions
  readonly #memory: MemoryRoot

  constructor(memory: MemoryRoot, o: NetOptions) {
    super(memory)
    this.#memory = memory
    this.#o = o
  }

  override get(name: string, o?: GetOptions & { signal?: AbortSignal }): Promise<{ bytes: Uint8Array; tag: string }> {
    return this.#request('get', name, () => this.#memory.get(name, o))
  }

  override put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    return this.#request('put', name, () => this.#memory.put(name, bytes, o))
  }

  override putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    return this.#request('putIfAbsent', name, () => this.#memory.putIfAbsent(name, bytes, o))
  }

  override delete(names: string | readonly string[]): Promise<void> {
    return this.#request('delete', typeof names === 'string' ? names : (names[0] ?? ''), () => this.#memory.delete(names))
  }

  override async *list(prefix: string, o?: { after?: string; limit?: number; signal?: AbortSignal }): AsyncIterable<ObjectInfo> {
    let stale = false
    const found = await this.#request('list', prefix, async (fault) => {
      stale = fault === 'staleList'
      const all: ObjectInfo[] = []
      for await (const info of this.#memory.list(prefix, o)) all.push(info)
      return all
    })
    yield* stale ? found.slice(0, Math.max(0, found.length - 1 - (this.#o.world.random.u32() % STALE_NAMES))) : found
  }

  async #request<T>(method: RootMethod, name: string, effect: (fault: Fault | undefined) => Promise<T>): Promise<T> {
    this.ask(method, name)
    const fault = this.#draw(method, name)
    await this.#way()
    if (fault === 'lostRequest') throw await this.#failed('timeout', method, name)
    if (fault === 'busy') throw await this.#failed('unavailable', method, name)
    if (fault === 'conflict') throw await this.#failed('precondition', method, name)
    if (fault === 'notThere') throw await this.#failed('notFound', method, name)
    if (fault === 'late') {
      this.#o.world.timers.set(this.#o.world.random.u32() % LATE_MS, () => void effect(fault).catch(() => undefined))
      throw await this.#failed('timeout', method, name)
    }
    const result = effect(fault)
    result.catch(() => undefined)
    await this.#way()
    if (fault === 'lostAnswer') throw await this.#failed('unknown', method, name)
    if (fault === 'busyExecuted') throw await this.#failed('unavailable', method, name)
    return result
  }

  #draw(method: RootMethod, name: string): Fault | undefined {
    const { random } = this.#o.world
    if (random.u32() / 2 ** 32 >= this.#o.faults) return undefined
    const kinds = FAULTS[method]!
    const fault = kinds[random.u32() % kinds.length]!
    // The floor is what everything else rests on: an object store answers a get with the newest state.
    if (fault === 'notThere' && !name.startsWith('log/')) return undefined
    this.faulted.push(fault)
    return fault
  }

  async #way(): Promise<void> {
    const { timers, random } = this.#o.world
    await timers.sleep(random.u32() % (this.#o.wayMs ?? 10))
    await this.parked
    if (this.dead) await new Promise(() => {})
  }

  async #failed(cls: StorageErrorClass, op: string, name: string): Promise<StorageError> {
    await this.#way()
    return new StorageError(`${op} ${name}: ${cls} (network)`, { details: { op, name, class: cls } })
  }
}
