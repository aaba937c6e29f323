// A machine of the cluster: a disk that keeps book of what was synced, and at most one process on it.
//
// A process is a World of its own over the clock that all share. Killed, its calls answer nobody any more and its disk goes on as a copy: what it still had under
// way reaches nobody. A power cut takes what was not synced, as the seed has it.

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { type FakeClock, FaultyRoot, fakeWorld } from '../../../bindings/testing/index.ts'
import type { Dice } from '../durable/dice.ts'

export class Process {
  readonly pid: number
  readonly world: World
  readonly points: FailpointRegistry
  readonly root: FaultyRoot
  readonly machine: Machine

  constructor(machine: Machine, pid: number, clock: FakeClock, seed: number) {
    this.machine = machine
    this.pid = pid
    this.points = new FailpointRegistry(clock.timers, { seed })
    this.world = fakeWorld({
      clock,
      seed,
      failpoints: this.points,
      host: { name: machine.name, pid, processStartTime: String(pid), isAlive: (other) => machine.process?.pid === other },
    })
    this.root = new FaultyRoot(machine.root, { failpoints: this.points })
  }

  get isAlive(): boolean {
    return !this.points.stopped
  }
}

export class Machine {
  readonly name: string
  root: MemoryRoot
  process: Process | undefined
  /** The calls that begin now are those of the simulation itself, and not slow. */
  isLookedAt = false
  /** How its last process ended. */
  lastEnd: 'none' | 'kill' | 'power' | 'closed' = 'none'
  readonly #clock: FakeClock
  readonly #dice: Dice
  #pids = 0

  constructor(name: string, clock: FakeClock, dice: Dice) {
    this.name = name
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

  /** A bit of a file that was written long ago turns over. @returns the file */
  async rot(kinds: RegExp): Promise<string | undefined> {
    const names: { name: string; size: number }[] = []
    for await (const { name, size } of this.root.list('')) if (kinds.test(name) && size > 0) names.push({ name, size })
    if (names.length === 0) return undefined
    const { name, size } = this.#dice.pick(names)
    const at = this.#dice.int(size)
    const { bytes } = this.root.getSync(name, { range: { start: at, end: at + 1 } } as never)
    this.root.corrupt(name, at, Uint8Array.of(bytes[0]! ^ (1 << this.#dice.int(8))))
    return `${name} @${at}`
  }
}
