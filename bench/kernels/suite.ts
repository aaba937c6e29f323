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

export interface KernelSuite {
  readonly rounds: number
  readonly turnMs: number
  /** Before the first round, per contender. */
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
    const batch = calibrate(run, suite.warmMs)
    return { name: who, turn: (): Promise<Turn> => Promise.resolve(repeat(run, batch, amount, suite.turnMs)) }
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

/** Warms the call up for a while, until its optimized code is there; returns how many calls are worth one look at the clock. */
function calibrate(run: () => unknown, ms: number): number {
  const started = performance.now()
  let batch = 1
  while (performance.now() - started < ms) if (timeBatch(run, batch) < BATCH_MS) batch *= 2
  return batch
}

/** The median of the batches of a turn: a batch in which the thread was put aside, or garbage collected, does not count. */
function repeat(run: () => unknown, batch: number, amount: number, ms: number): Turn {
  const started = performance.now()
  const batches: number[] = []
  do batches.push(timeBatch(run, batch))
  while (performance.now() - started < ms)
  return { ms: medianOf(batches), operations: batch * amount }
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
