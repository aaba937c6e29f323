// What the tests of the object log share: a root on virtual time, handles on it, and the append that goes on behind the winners.
import type { Lsn, ObjectLogOptions, ObjectWriteLog } from '../../bindings/log/index.ts'
import { openObjectLog } from '../../bindings/log/index.ts'
import { MemoryRoot, type Root } from '../../bindings/root/index.ts'
import { FailpointRegistry, type World } from '../../bindings/runtime/index.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FaultyRoot } from '../../bindings/testing/faulty-root.ts'
import { commitOne, elapse, recordOf, STORE_ID } from '../sim/object-log-writers.ts'

export { elapse, recordOf, STORE_ID }

export interface Handle {
  readonly log: ObjectWriteLog
  readonly root: FaultyRoot
  readonly world: World
  readonly failpoints: FailpointRegistry
  /** Appends one record of this id, behind whoever wins. */
  commit(id: number): Promise<Lsn>
}

export class Bench {
  readonly clock: FakeClock = new FakeClock()
  readonly memory: MemoryRoot = new MemoryRoot({})
  #seed = 1

  /** A writer with a root of its own onto the same bytes. */
  async writer(o: Partial<ObjectLogOptions> = {}, root: FaultyRoot = new FaultyRoot(this.memory)): Promise<Handle> {
    const failpoints = new FailpointRegistry(this.clock.timers)
    const world = fakeWorld({ clock: this.clock, seed: this.#seed++, failpoints })
    const log = (await this.elapse(openObjectLog(root, { world, storeId: STORE_ID, ...o }))) as ObjectWriteLog
    const commit = (id: number) => this.elapse(commitOne(log, [recordOf(id)], world, { unknowns: 0, lost: 0 }))
    return { log, root, world, failpoints, commit }
  }

  /** A handle that only reads, without knowledge of its own. */
  async reader(o: Partial<ObjectLogOptions> = {}, root: Root = this.memory): ReturnType<typeof openObjectLog> {
    const world = fakeWorld({ clock: this.clock, seed: this.#seed++ })
    return this.elapse(openObjectLog(root, { world, storeId: STORE_ID, readOnly: true, follow: false, ...o }))
  }

  /** Lets time go by until it settles. */
  elapse<T>(promise: Promise<T>): Promise<T> {
    return elapse(this.clock, promise, 100)
  }
}
