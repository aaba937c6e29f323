// engine/gates.ts: who of this process may decide about what, one after the other (recovery.md section 8).
//
//   schema gate -> branch gates, by incarnation -> table gates, by tableId -> the log
//
// A shared holder keeps exclusive ones out and lets other shared ones in. Waiters are served in the order they came, so nobody starves.
// Invariant: gates are taken in this order and only in this order, one request after the other and within each: whoever holds one waits only for a later one,
// so that no cycle can be. Gates serialize a process; between processes the log arbitrates.

import { assert } from '../assert.ts'
import { ContentionError } from '../errors.ts'
import type { World } from '../runtime/index.ts'

export type GateMode = 'shared' | 'exclusive'

export interface GateRequest {
  /** Exclusive: definitions change; shared: they must not change meanwhile. */
  readonly schema?: GateMode
  /** Incarnations of branches. */
  readonly branches?: { readonly mode: GateMode; readonly ids: Iterable<string> }
  /** Rows of these tables are admitted or moved. Always exclusive. */
  readonly tables?: Iterable<number>
}

export interface GateOptions {
  readonly signal?: AbortSignal | undefined
  /** Longest wait for all of them together. Default: as long as it takes. */
  readonly deadlineMs?: number | undefined
}

/** Held gates; disposing gives them back, last first, once. */
export interface HeldGates extends Disposable {
  /** Take more, all of them behind those held. After a failure those held before are still held. */
  extend(request: GateRequest, o?: GateOptions): Promise<void>
}

type GatesWorld = Pick<World, 'clock' | 'timers'>

/** Which gate, and its place in the order. */
interface Wanted {
  readonly rank: 0 | 1 | 2
  readonly id: string | number
  readonly mode: GateMode
}

/** @example using held = await gates.take({ branches: { mode: 'shared', ids: [branchId] }, tables: [7, 3] }, { signal }) */
export class Gates {
  private readonly world: GatesWorld
  private readonly gates = new Map<string, Gate>()

  constructor(world: GatesWorld) {
    this.world = world
  }

  /** @throws the signal's reason; ContentionError past the deadline. Then none of them is held. */
  async take(request: GateRequest, o: GateOptions = {}): Promise<HeldGates> {
    const held = new Held(this.gates, this.world)
    try {
      await held.extend(request, o)
    } catch (error) {
      held[Symbol.dispose]()
      throw error
    }
    return held
  }

  /** Runs `fn` while the gate of one table is held. */
  async withTable<T>(tableId: number, fn: () => Promise<T>, o?: GateOptions): Promise<T> {
    using _held = await this.take({ tables: [tableId] }, o)
    return await fn()
  }
}

class Held implements HeldGates {
  private readonly gates: Map<string, Gate>
  private readonly world: GatesWorld
  private readonly held: { readonly name: string; readonly gate: Gate; readonly mode: GateMode }[] = []
  private last: Wanted | undefined
  private isOver = false

  constructor(gates: Map<string, Gate>, world: GatesWorld) {
    this.gates = gates
    this.world = world
  }

  async extend(request: GateRequest, o: GateOptions = {}): Promise<void> {
    assert(!this.isOver, 'gates that were given back are not extended')
    o.signal?.throwIfAborted()
    const startedMs = this.world.clock.monoMs()
    for (const wanted of inOrder(request)) {
      assert(this.last === undefined || compare(this.last, wanted) < 0, 'gates are taken in their order', {
        held: nameOf(this.last ?? wanted),
        wanted: nameOf(wanted),
      })
      const name = nameOf(wanted)
      let gate = this.gates.get(name)
      if (gate === undefined) this.gates.set(name, (gate = new Gate()))
      const leftMs = o.deadlineMs === undefined ? undefined : o.deadlineMs - (this.world.clock.monoMs() - startedMs)
      await this.enter(name, gate, wanted.mode, leftMs, o.signal)
      this.held.push({ name, gate, mode: wanted.mode })
      this.last = wanted
    }
  }

  private enter(name: string, gate: Gate, mode: GateMode, leftMs: number | undefined, signal: AbortSignal | undefined): Promise<void> | undefined {
    if (gate.enterNow(mode)) return undefined
    const { timers } = this.world
    return new Promise<void>((resolve, reject) => {
      const stop = (): void => leave(signal!.reason as Error)
      const end = (): void => {
        signal?.removeEventListener('abort', stop)
        if (timer !== undefined) timers.clear(timer)
      }
      const enter = (): void => {
        end()
        resolve()
      }
      const leave = (error: Error): void => {
        end()
        gate.leaveQueue(enter)
        reject(error)
      }
      gate.queue(mode, enter)
      signal?.addEventListener('abort', stop, { once: true })
      const timer =
        leftMs === undefined
          ? undefined
          : timers.set(Math.max(0, leftMs), () => {
              const message = `the ${name} was not free in time`
              leave(
                new ContentionError(message, { details: { rounds: 1 }, hint: 'Another write of this process holds it: wait for that one, then try again.' }),
              )
            })
    })
  }

  [Symbol.dispose](): void {
    this.isOver = true
    for (const { name, gate, mode } of this.held.splice(0).toReversed()) {
      gate.exit(mode)
      if (gate.isIdle && this.gates.get(name) === gate) this.gates.delete(name)
    }
  }
}

/** One lock for readers and writers, fair. */
class Gate {
  private shared = 0
  private exclusive = false
  private waiting: { readonly mode: GateMode; readonly enter: () => void }[] = []

  get isIdle(): boolean {
    return this.shared === 0 && !this.exclusive && this.waiting.length === 0
  }

  /** False: it is taken, or somebody came first. */
  enterNow(mode: GateMode): boolean {
    if (this.waiting.length > 0 || !this.admits(mode)) return false
    this.hold(mode)
    return true
  }

  queue(mode: GateMode, enter: () => void): void {
    this.waiting.push({ mode, enter })
  }

  leaveQueue(enter: () => void): void {
    this.waiting = this.waiting.filter((each) => each.enter !== enter)
    // It may have stood between a shared holder and those behind it.
    this.serve()
  }

  exit(mode: GateMode): void {
    if (mode === 'shared') this.shared--
    else this.exclusive = false
    this.serve()
  }

  private serve(): void {
    while (this.waiting.length > 0 && this.admits(this.waiting[0]!.mode)) {
      const { mode, enter } = this.waiting.shift()!
      this.hold(mode)
      enter()
    }
  }

  private admits(mode: GateMode): boolean {
    return !this.exclusive && (mode === 'shared' || this.shared === 0)
  }

  private hold(mode: GateMode): void {
    if (mode === 'shared') this.shared++
    else this.exclusive = true
  }
}

function inOrder({ schema, branches, tables }: GateRequest): Wanted[] {
  const wanted: Wanted[] = []
  if (schema !== undefined) wanted.push({ rank: 0, id: 0, mode: schema })
  for (const id of new Set(branches?.ids)) wanted.push({ rank: 1, id, mode: branches!.mode })
  for (const id of new Set(tables)) wanted.push({ rank: 2, id, mode: 'exclusive' })
  return wanted.sort(compare)
}

function compare(a: Wanted, b: Wanted): number {
  return a.rank - b.rank || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

function nameOf({ rank, id }: Wanted): string {
  return rank === 0 ? 'schema gate' : rank === 1 ? `gate of branch ${id}` : `gate of table ${id}`
}
