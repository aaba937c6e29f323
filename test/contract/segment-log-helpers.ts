// Processes that share one fake disk: each has its own world (pid, randomness, failpoints); who lives is the test's to say.
import { type CommitLog, openSegmentLog, type SegmentLogOptions } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { type FailpointName, FailpointRegistry, type LogEvent, type World } from '../../bindings/runtime/index.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'

export const STORE_ID: Uint8Array = new Uint8Array(16).fill(6)

export interface Process {
  readonly pid: number
  readonly world: World
  readonly root: DirRoot
  readonly failpoints: FailpointRegistry
  readonly events: LogEvent[]
}

export class Host {
  files: FakeFiles
  readonly clock: FakeClock = new FakeClock()
  readonly #dead = new Set<number>()
  #pids = 0

  constructor(files: FakeFiles = new FakeFiles()) {
    this.files = files
  }

  process(o: { files?: World['files']; startTime?: string; pid?: number; name?: string } = {}): Process {
    const pid = o.pid ?? ++this.#pids
    const failpoints = new FailpointRegistry(this.clock.timers)
    const events: LogEvent[] = []
    const world: World = {
      ...fakeWorld({
        files: o.files ?? this.files,
        seed: pid * 7919,
        clock: this.clock,
        failpoints,
        host: {
          pid,
          name: o.name ?? 'fake',
          processStartTime: o.startTime ?? `start-${pid}`,
          isAlive: (other, start) => !this.#dead.has(other) && start === `start-${other}`,
        },
      }),
      logger: { log: (event) => void events.push(event) },
    }
    return { pid, world, root: new DirRoot('/data/store', world), failpoints, events }
  }

  /** From here on everybody thinks that process is gone. It may go on all the same. */
  declareDead(process: Process): void {
    this.#dead.add(process.pid)
  }

  async open(process: Process, o: Partial<SegmentLogOptions> = {}): Promise<CommitLog> {
    return this.run(openSegmentLog(process.root, { world: process.world, storeId: STORE_ID, segmentBytes: 8192, follow: false, ...o }))
  }

  /** Lets fake time pass until the promise settles. */
  async run<T>(promise: Promise<T>, stepMs = 50): Promise<T> {
    let settled = false
    promise.then(
      () => (settled = true),
      () => (settled = true),
    )
    while (!settled) await this.clock.advance(stepMs)
    return promise
  }
}

/** Stops the first arrival at a failpoint until release(). */
export function park(process: Process, point: FailpointName): { readonly reached: Promise<void>; release(): void } {
  let arrived!: () => void
  let release!: () => void
  const reached = new Promise<void>((resolve) => (arrived = resolve))
  const parked = new Promise<void>((resolve) => (release = resolve))
  process.failpoints.arm(point, {
    times: 1,
    run: () => {
      arrived()
      return parked
    },
  })
  return { reached, release }
}
