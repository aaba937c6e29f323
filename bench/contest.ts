// bench/contest.ts: interleaved rounds. Each round is one tinybench run in which every contender has one turn; the order turns by one from round to round,
// and the result is the median over the rounds. Only what a turn reports as its duration counts: preparing, checking and cleaning up lie outside.
import { Bench } from 'tinybench'

import { collectGarbage } from './machine.ts'
import { type Figures, medianOf, type Outcome, percentileOf, ratioOf, rounded } from './report.ts'

export interface Turn {
  /** The timed part. */
  readonly ms: number
  /** Operations in it; 1 where the unit is a time. */
  readonly operations: number
  /** Of single operations, in ms. */
  readonly latencies?: Float64Array
}

export interface Entry {
  readonly name: string
  turn(round: number): Promise<Turn>
}

/** The first entry is varve; ratios are its own against the others. */
export async function contest(name: string, unit: string, rounds: number, entries: readonly Entry[]): Promise<Outcome> {
  const taken = new Map<string, Turn[]>(entries.map((entry) => [entry.name, []]))
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true, retainSamples: true })
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[(i + round) % entries.length]!
      const turns = taken.get(entry.name)!
      // tinybench calls the function once more, untimed, to see whether it is asynchronous, unless it is told.
      bench.add(
        entry.name,
        async () => {
          collectGarbage()
          const turn = await entry.turn(round)
          turns.push(turn)
          return { overriddenDuration: turn.ms }
        },
        { async: true },
      )
    }
    await bench.run()
  }
  const contenders: Record<string, Figures> = {}
  for (const [who, turns] of taken) contenders[who] = figuresOf(unit, turns)
  const [ours, ...others] = entries
  const { median, p99 } = contenders[ours!.name]!
  const against = Object.fromEntries(others.map((other) => [other.name, ratioOf(unit, median, contenders[other.name]!.median)]))
  return { name, unit, median, ...(p99 === undefined ? {} : { p99 }), runs: rounds, against, contenders }
}

export async function timed(fn: () => Promise<unknown>, operations = 1): Promise<Turn> {
  const started = performance.now()
  await fn()
  return { ms: performance.now() - started, operations }
}

function figuresOf(unit: string, turns: readonly Turn[]): Figures {
  const values = turns.map(({ ms, operations }) => (unit.endsWith('/s') ? (operations / ms) * 1000 : ms / operations))
  const tails = turns.flatMap(({ latencies }) => (latencies === undefined ? [] : [percentileOf(latencies, 0.99)]))
  return {
    median: rounded(medianOf(values)),
    min: rounded(Math.min(...values)),
    max: rounded(Math.max(...values)),
    ...(tails.length === 0 ? {} : { p99: rounded(medianOf(tails)) }),
  }
}

/** Fails the run with what was expected: a figure of a wrong result is worth nothing. */
export function verify(ok: boolean, what: string): void {
  if (!ok) throw new Error(`wrong result: ${what}`)
}
