// One process's way to a root that several share: requests take time, a share of them fails before or after its effect, and none is answered once the process is dead.
//
// Invariant: a checkpoint that is there is only ever written again with the same bytes.
import type { PutOptions, Root } from '../../../bindings/root/index.ts'
import type { StorageErrorClass } from '../../../bindings/errors.ts'
import type { World } from '../../../bindings/runtime/index.ts'
import { check } from '../../../bindings/testing/contracts/check.ts'
import { FaultyRoot, type RootFault } from '../../../bindings/testing/index.ts'
import type { Dice } from '../durable/dice.ts'

const CLASSES: readonly StorageErrorClass[] = ['unavailable', 'timeout', 'io', 'unknown']

export interface NetOptions {
  readonly world: World
  readonly dice: Dice
  /** Share of requests that fail, 0..1. */
  readonly faults: number
  /** Longest way of a request, in ms. */
  readonly wayMs: number
}

export class SharedNet extends FaultyRoot {
  faults: number
  faulted = 0

  constructor(inner: Root, { world, dice, faults, wayMs }: NetOptions) {
    super(inner, { failpoints: world.failpoints })
    this.faults = faults
    const wait = (): Promise<void> => world.timers.sleep(dice.int(wayMs))
    this.plan((): RootFault => {
      if (dice.int(10_000) >= this.faults * 10_000) return { wait }
      this.faulted++
      return { wait, error: dice.pick(CLASSES), when: dice.once(2) ? 'after' : 'before' }
    })
  }

  override async put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    if (name.startsWith('checkpoints/') && (await this.inner.exists(name))) {
      const there = (await this.inner.get(name)).bytes
      check(Buffer.compare(there, bytes) === 0, `${name} is written again with the same bytes`, `${there.length} and ${bytes.length} bytes`)
    }
    return super.put(name, bytes, o)
  }
}
