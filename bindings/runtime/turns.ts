// runtime/turns.ts: the event loop's turn, for long work that has nothing to wait for.

import { soon } from './clock.ts'
import type { World } from './world.ts'

/** Half a frame at 60 Hz: yielding costs little, and a server stays responsive. */
const WORK_MS = 8

export class Turns {
  private readonly world: World
  private turnMs: number

  constructor(world: World) {
    this.world = world
    this.turnMs = world.clock.monoMs()
  }

  /** Call between pieces that take well below WORK_MS. undefined: go on at once. */
  step(): Promise<void> | undefined {
    return this.world.clock.monoMs() - this.turnMs < WORK_MS ? undefined : this.turn()
  }

  private async turn(): Promise<void> {
    await new Promise<void>((resolve) => soon(resolve))
    this.turnMs = this.world.clock.monoMs()
  }
}
