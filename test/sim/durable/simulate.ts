// The durable-state simulation: a history from a seed, run once, and then crashed at operations of its disk (recoveries.ts).
//
// Nothing here depends on the machine: a seed that fails, fails again.

import type { DiskOp } from '../../../bindings/root/index.ts'
import type { DiskTrace } from '../../../bindings/testing/index.ts'
import { text } from '../store-model.ts'
import { Dice } from './dice.ts'
import { Life, type OpKind } from './life.ts'
import { differs } from './look.ts'
import * as kinds from './ops/index.ts'
import { drawPoint, Recoveries, type SimReport, stackOf } from './recoveries.ts'

export interface SimOptions {
  readonly seed: number
  /** States looked at in one history, about. */
  readonly states: number
  /** Operations that a lying file system reports as done and forgets: shows that the simulation would notice. */
  readonly forgets?: (op: DiskOp) => boolean
}

const KINDS = Object.values(kinds) as unknown as readonly OpKind<unknown>[]
/** A sync of a directory that is not there. */
const NOTHING: DiskOp = { op: 'syncDir', dir: '' }
const STEPS_MAX = 28

export async function simulate(o: SimOptions): Promise<SimReport> {
  const report: SimReport = { seed: o.seed, states: 0, failures: [] }
  const dice = new Dice(o.seed)
  const life = new Life({
    seed: o.seed,
    durability: o.seed % 5 < 2 ? 'buffered' : 'synced',
    open: {
      segmentBytes: 64 * 1024,
      inlineLimitBytes: dice.pick([600, 600, 256 * 1024, 256 * 1024, 0]),
      bufferedSyncMs: dice.pick([5, 100]),
    },
  })
  const steps = drawSteps(dice)
  const marks: { at: number; what: string }[] = []
  try {
    await live(life, steps, marks)
  } catch (error) {
    report.failures.push(`seed ${o.seed}: the history itself fails at ${marks.at(-1)?.what}: ${stackOf(error)}`)
    return report
  }
  const run = new Recoveries(life, dice, report)
  if (o.forgets !== undefined) life.trace.ops.forEach((op, i) => void (o.forgets!(op) && (life.trace.ops[i] = NOTHING)))
  const points = drawPoints(
    dice,
    life.trace,
    marks.map(({ at }) => at),
    o.states,
  )
  for (const index of points) {
    const step = marks.findLast(({ at }) => at <= index)!.what
    await run.crashAt(
      index,
      `seed ${o.seed}, ${life.o.durability}, ${text(life.o.open)}, in ${step}, before operation ${index} (${life.trace.describe(index)})`,
    )
  }
  return report
}

interface Step {
  readonly kind: OpKind<unknown>
  readonly data: unknown
}

function drawSteps(dice: Dice): Step[] {
  // Each history has kinds of its own that it is full of, and others that it never sees: what they do to each other shows sooner.
  const weights = KINDS.map(({ weight }) => weight * dice.pick([0, 1, 1, 4]))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const drawKind = (): OpKind<unknown> => {
    let at = dice.int(Math.max(1, total))
    return KINDS[weights.findIndex((weight) => (at -= weight) < 0)] ?? KINDS[0]!
  }
  const steps = dice.list(1, STEPS_MAX, () => {
    const kind = drawKind()
    return { kind, data: kind.draw(dice) }
  })
  // Without tables there is little to lose: most histories begin with them.
  const first = { kind: kinds.create as OpKind<unknown>, data: kinds.create.draw(dice) }
  return dice.once(8) ? steps : [first, ...steps]
}

async function live(life: Life, steps: readonly Step[], marks: { at: number; what: string }[]): Promise<void> {
  const mark = (what: string): void => void marks.push({ at: life.trace.length, what })
  mark('the first open')
  await life.open()
  for (const [i, { kind, data }] of steps.entries()) {
    mark(`step ${i} ${kind.name} ${text(data)}`)
    life.sim.tick(i % 3)
    await kind.run(life, data)
    const wrong = await differs(life.store, life.versionAt(Infinity))
    if (wrong !== undefined) throw new Error(`the store shows something else than the model: ${wrong}`)
  }
  mark('the last close')
  const head = Number(life.store.lsn)
  await life.store.close()
  life.promise(head, 'power')
  life.trace.stop()
  await life.lookAtDigests()
}

/** Operations to crash at, ascending: a stretch of neighbours, some of each step of the history however short it is, and others from anywhere. */
function drawPoints(dice: Dice, trace: DiskTrace, steps: readonly number[], most: number): number[] {
  const points = new Set<number>([trace.length])
  // A store that is being made goes through everything once.
  const start = dice.once(5) ? 0 : dice.int(trace.length)
  for (let i = 0; i < most / 60; i++) points.add(Math.min(trace.length, start + (start === 0 ? dice.int(60) : i)))
  for (let i = 0; i < most / 40; i++) {
    points.add(drawPoint(dice, trace, trace.length))
    const step = dice.int(steps.length)
    points.add(steps[step]! + dice.int((steps[step + 1] ?? trace.length) - steps[step]! + 1))
  }
  return [...points].sort((a, b) => a - b)
}
