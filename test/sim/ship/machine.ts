// A machine of the cluster: a disk that keeps book of what was synced, and at most one process on it.
//
// A process is a World of its own over the clock that all share. Killed, its calls answer nobody any more and its disk goes on as a copy: what it still had under
// way reaches nobody. A power cut takes what was not synced, as the seed has it.

import { MemoryRoot, type PutOptions } from '../../../bindings/root/index.ts'
import { FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { type FakeClock, FaultyRoot, fakeWorld, type RootFault, type RootFaultPlan, type RootMethod } from '../../../bindings/testing/index.ts'
import type { Dice } from '../durable/dice.ts'

/** Nobody asks it for its calls, so it keeps no list of them. */
class ProcessRoot extends FaultyRoot {
  #plan: RootFaultPlan | undefined
  #asked = 0

  override plan(plan: RootFaultPlan | undefined): void {
    this.#plan = plan
  }

  override ask(method: RootMethod, name: string): RootFault | undefined {
    return this.#plan?.({ n: ++this.#asked, method, name })
  }
}

/** A disk that says of some files that they are synced, and has not done it. */
class ForgetfulRoot extends ProcessRoot {
  readonly #forgets: RegExp

  constructor(inner: MemoryRoot, failpoints: FailpointRegistry, forgets: RegExp) {
    super(inner, { failpoints })
    this.#forgets = forgets
  }

  override put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    return super.put(name, bytes, this.#told(name, o))
  }

  override putIfAbsent(name: string, bytes: Uint8Array, o?: PutOptions & { attempt?: Uint8Array }): Promise<{ status: 'created' | 'exists'; tag?: string }> {
    return super.putIfAbsent(name, bytes, this.#told(name, o))
  }

  #told<T extends PutOptions>(name: string, o: T | undefined): T | undefined {
    return this.#forgets.test(name) ? ({ ...o, sync: false } as unknown as T) : o
  }
}

const READS = /^(get|list|stat|head|delete)|read|close/

export class Process {
  readonly pid: number
  readonly world: World
  readonly points: FailpointRegistry
  readonly root: FaultyRoot
  readonly machine: Machine
  /** Its disk has failed it. */
  hasFaults = false
  /** Resolves when it dies. */
  readonly death: Promise<'dead'>

  constructor(machine: Machine, pid: number, clock: FakeClock, seed: number) {
    this.machine = machine
    this.pid = pid
    this.points = new FailpointRegistry(clock.timers, { seed })
    this.death = this.points.crashed.then(() => 'dead')
    this.world = fakeWorld({
      clock,
      seed,
      failpoints: this.points,
      host: { name: machine.name, pid, processStartTime: String(pid), isAlive: (other) => machine.process?.pid === other },
    })
    this.root =
      machine.forgets === undefined ? new ProcessRoot(machine.root, { failpoints: this.points }) : new ForgetfulRoot(machine.root, this.points, machine.forgets)
  }

  get isAlive(): boolean {
    return !this.points.stopped
  }
}

export class Machine {
  readonly name: string
  readonly forgets: RegExp | undefined
  root: MemoryRoot
  process: Process | undefined
  /** The calls that begin now are those of the simulation itself, and not slow. */
  isLookedAt = false
  /** How its last process ended. */
  lastEnd: 'none' | 'kill' | 'power' | 'closed' = 'none'
  readonly #clock: FakeClock
  readonly #dice: Dice
  #pids = 0

  constructor(name: string, clock: FakeClock, dice: Dice, forgets?: RegExp) {
    this.name = name
    this.forgets = forgets
    this.#clock = clock
    this.#dice = dice
    this.root = new MemoryRoot({ loseUnsynced: dice.seed() })
  }

  start(): Process {
    this.process = new Process(this, ++this.#pids, this.#clock, this.#dice.seed())
    return this.process
  }

  /** The process is gone as by SIGKILL, or with the power of its machine. */
  stop(how: 'kill' | 'power'): void {
    this.process?.points.crash()
    this.process = undefined
    this.root = how === 'kill' ? this.root.restart() : this.root.crash(this.#dice.seed())
    this.lastEnd = how
  }

  /** Its disk takes its time until then. */
  slow(longestMs: number): void {
    const { process } = this
    if (process === undefined) return
    const untilMs = process.world.clock.monoMs() + 10 * longestMs
    process.root.plan(() => {
      if (process.world.clock.monoMs() >= untilMs) process.root.plan(undefined)
      if (this.isLookedAt) return undefined
      return { wait: () => process.world.timers.sleep(1 + this.#dice.int(longestMs)) }
    })
  }

  /** Its disk fails for a while: one call in so many of some files, before, amid or after its effect. @returns what it does */
  breakDown(): string | undefined {
    const { process } = this
    if (process === undefined) return undefined
    const dice = this.#dice
    process.hasFaults = true
    const untilMs = process.world.clock.monoMs() + 20 + dice.int(400)
    const every = dice.pick([2, 6, 20, 60])
    const error = dice.pick(['io', 'space'] as const)
    const only = dice.pick([/^/, /NODE/, /log\//, /^(fragments|indexes)/, /staging|bases|checkpoints/])
    process.root.plan(({ name, method }) => {
      if (process.world.clock.monoMs() >= untilMs) process.root.plan(undefined)
      if (this.isLookedAt || !only.test(name) || !dice.once(every)) return undefined
      if (error === 'space' && READS.test(method)) return undefined
      // Room runs out before anything is written.
      return { error, when: error === 'space' ? 'before' : dice.pick(['before', 'after', 'half'] as const) }
    })
    return `${error}, one call in ${every} of ${only.source}`
  }

  /** Names of files there. */
  files(kinds: RegExp): string[] {
    return this.root.namesSync().filter((name) => kinds.test(name))
  }

  /** A bit of a file that was written long ago turns over. @returns the file */
  rot(kinds: RegExp): string | undefined {
    const names = this.files(kinds)
    if (names.length === 0) return undefined
    const name = this.#dice.pick(names)
    const { bytes } = this.root.getSync(name)
    if (bytes.length === 0) return undefined
    const at = this.#dice.int(bytes.length)
    this.root.corrupt(name, at, Uint8Array.of(bytes[at]! ^ (1 << this.#dice.int(8))))
    return name
  }
}
