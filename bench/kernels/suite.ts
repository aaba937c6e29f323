// bench/kernels/suite.ts: what every file of bench/kernels is given, and the race its workloads are run as.
//
// A race has varve's ways (one, or "in-memory" beside "with-copies": the kernel on bytes that already lie in kernel memory, the public call with its copies)
// and peers, all in the same interleaved rounds. Invariant: what each of them returns is checked before the first round and after the last one, untimed.
import { contest, type Turn, verify } from '../contest.ts'
import { randomOf } from '../data.ts'
import { medianOf, type Outcome, ratioOf } from '../report.ts'

export const KIB = 1024
export const MIB: number = 1024 * KIB
/** Calls between two looks at the clock take at least this long. */
const BATCH_MS = 0.1
const LONG_MS = 1
const LONG_TURN_MS = 30

export interface KernelSuite {
  readonly rounds: number
  readonly turnMs: number
  /** Processor time before the first round, per contender. */
  readonly warmMs: number
  readonly isQuick: boolean
  /** The bytes of one input, from 64 B to 16 MiB; a few of them in a quick run. */
  readonly sizes: readonly number[]
  /** A package of bench/package.json; undefined, with the reason noted, where it is not installed or does not load. */
  peer(name: string): Promise<unknown>
  /** Offset of a copy of the bytes in kernel memory, until the part ends. */
  place(bytes: Uint8Array): number
  /** Offset of room in kernel memory, until the part ends. */
  room(bytes: number): number
  add(entry: Entry): void
  /** A figure beside the results. */
  fact(name: string, value: unknown): void
}

/** One of varve's ways in one workload, with every peer's ratio. */
export interface Entry extends Outcome {
  /** Peer -> the least ratio kernels.md section 9 asks for. */
  readonly targets: Readonly<Record<string, number>>
}

export interface Entrant {
  run(): unknown
  ok(result: unknown): boolean
}

/** A call and the check of what it returns. */
export function entrant<T>(run: () => T, ok: (result: T) => boolean): Entrant {
  return { run, ok: (result) => ok(result as T) }
}

export interface Race {
  /** `part.workload.size`: the part's own name first. */
  readonly name: string
  /** `…/s`: what `amount` counts. */
  readonly unit: string
  /** What one call works on. */
  readonly amount: number
  /** Way -> call; `varve` where there is one way only, else the way's name ends the result's name. */
  readonly ours: Readonly<Record<string, Entrant>>
  /** undefined = not on this machine. */
  readonly peers: Readonly<Record<string, Entrant | undefined>>
  /** Way -> peer -> least ratio. */
  readonly targets?: Readonly<Record<string, Readonly<Record<string, number>>>>
}

export async function race(suite: KernelSuite, { name, unit, amount, ours, peers, targets }: Race): Promise<void> {
  const present = Object.entries(peers).filter((pair): pair is [string, Entrant] => pair[1] !== undefined)
  const all = [...Object.entries(ours), ...present]
  check(name, all)
  const turns = all.map(([who, { run }]) => {
    const pace = calibrate(run, suite.warmMs)
    return { name: who, turn: (): Promise<Turn> => Promise.resolve(repeat(run, pace, amount, suite.turnMs)) }
  })
  const { contenders, runs } = await contest(name, unit, suite.rounds, turns)
  check(name, all)
  for (const way of Object.keys(ours)) {
    const mine = contenders[way]!
    const figures = Object.fromEntries([['varve', mine], ...present.map(([who]) => [who, contenders[who]!] as const)])
    suite.add({
      name: way === 'varve' ? name : `${name}.${way}`,
      unit,
      median: mine.median,
      runs,
      against: Object.fromEntries(present.map(([who]) => [who, ratioOf(unit, mine.median, contenders[who]!.median)])),
      contenders: figures,
      targets: targets?.[way] ?? {},
    })
  }
}

function check(name: string, all: readonly (readonly [string, Entrant])[]): void {
  for (const [who, { run, ok }] of all) verify(ok(run()), `${name}: ${who}`)
}

interface Pace {
  /** Calls between two looks at the clock. */
  readonly batch: number
  /** One call takes longer than the thread may be left alone for. */
  readonly isLong: boolean
}

/** Warms the call up for some processor time, until its optimized code is there, and finds its pace. */
function calibrate(run: () => unknown, ms: number): Pace {
  const started = cpuMs()
  while (cpuMs() - started < ms) run()
  let batch = 1
  const least = (): number => Math.min(timeBatch(run, batch), timeBatch(run, batch), timeBatch(run, batch))
  while (least() < BATCH_MS) batch *= 2
  return { batch, isLong: least() > LONG_MS }
}

/**
 * Short calls: the median of the batches of a turn, so that a batch in which the thread was put aside does not count. Long calls: the processor time of this
 * thread, which does not run on while others have the processor.
 */
function repeat(run: () => unknown, { batch, isLong }: Pace, amount: number, ms: number): Turn {
  const started = performance.now()
  if (isLong) {
    const from = cpuMs()
    let calls = 0
    do {
      run()
      calls++
    } while (cpuMs() - from < LONG_TURN_MS)
    return { ms: cpuMs() - from, operations: calls * amount }
  }
  const batches: number[] = []
  do batches.push(timeBatch(run, batch))
  while (performance.now() - started < ms)
  return { ms: medianOf(batches), operations: batch * amount }
}

/** Of this thread; counted by the system in steps of up to some ms. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

function timeBatch(run: () => unknown, batch: number): number {
  const started = performance.now()
  for (let i = 0; i < batch; i++) run()
  return performance.now() - started
}

/** 64B, 4KiB, 16MiB. */
export function sizeName(bytes: number): string {
  if (bytes >= MIB) return `${bytes / MIB}MiB`
  return bytes >= KIB ? `${bytes / KIB}KiB` : `${bytes}B`
}

/** Seeded bytes without any order. */
export function noise(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = randomOf(seed)
  const words = Uint32Array.from({ length: Math.ceil(bytes / 4) }, random)
  return new Uint8Array(words.buffer, 0, bytes)
}
