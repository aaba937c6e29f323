// One run of the shipping simulation: a cluster from a seed, so many events, a phase in which nothing more goes wrong, and the checkers of shipping.md section 17.
//
// Clock, network, disks and choices come from the seed; what a process does happens in turns of the event loop of which each event gets so many. Nothing here
// depends on the machine: a seed that fails, fails again, and says what happened last.

import '../../loaded.ts'
import { CHECKERS } from './checkers/index.ts'
import { Cluster, InvariantError } from './cluster.ts'
import { EVENTS } from './events.ts'
import { MUTANTS } from './mutants.ts'
import { type EventName, PROFILE_NAMES, type ProfileName, PROFILES } from './profiles.ts'

export interface ShipOptions {
  readonly seed: number
  /** Default: by the seed, each in its turn. */
  readonly profile?: ProfileName
  /** Default 2,000. */
  readonly events?: number
  /** One of MUTANTS, by its name: shows that it is noticed. */
  readonly mutant?: string
}

export interface ShipReport {
  readonly seed: number
  readonly mutant: string | undefined
  readonly profile: ProfileName
  readonly steps: number
  readonly writes: number
  readonly acked: number
  /** How often what happens rarely has happened. */
  readonly counts: Readonly<Record<string, number>>
  /** Of everything that was said. */
  readonly hash: string
  readonly failures: readonly string[]
  /** With a failure: what happened last. */
  readonly trace: readonly string[]
}

/** Turns after an event, at most. */
const TURNS = 6
/** Of the last phase. */
const CALM_TICKS = 10_000
const CALM_TICK_MS = 20
/** Events between two looks at rows. */
const LOOK_EVERY = 40

/** A run that fails is run again, the same way, with stacks. */
export async function simulateShip(o: ShipOptions): Promise<ShipReport> {
  // Errors are made by the thousand (connections end, files are not there yet), and of most only the kind counts.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    const report = await run(o)
    if (report.failures.length === 0 || o.mutant !== undefined) return report
    Error.stackTraceLimit = stackTraceLimit
    const again = await run(o)
    return again.failures.length > 0 ? again : report
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

async function run(o: ShipOptions): Promise<ShipReport> {
  const profile = o.profile ?? PROFILE_NAMES[o.seed % PROFILE_NAMES.length]!
  const mutant = MUTANTS.find(({ name }) => name === o.mutant)
  const cluster = new Cluster({
    seed: o.seed,
    profile: PROFILES[profile],
    checkers: CHECKERS.map((make) => make()),
    ...(mutant === undefined ? {} : { mutant }),
  })
  const mend = mutant?.install?.(cluster)
  const failures: string[] = []
  let steps = 0
  const unheard = (error: unknown): void => cluster.fail('unheard', error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.on('unhandledRejection', unheard)
  try {
    for (const machine of cluster.machines) cluster.start(machine)
    const draw = drawer(cluster)
    for (; steps < (o.events ?? 2000); steps++) {
      const event = draw()
      await EVENTS[event](cluster)
      await cluster.breathe(1 + cluster.dice.int(TURNS))
      await cluster.observe()
      if (steps % LOOK_EVERY === 0) for (const node of cluster.nodes.values()) cluster.look(node)
    }
    await calm(cluster)
  } catch (error) {
    failures.push(`seed ${o.seed}, ${profile}, event ${steps}: ${error instanceof InvariantError ? error.message : ((error as Error).stack ?? String(error))}`)
  } finally {
    process.off('unhandledRejection', unheard)
    mend?.()
    for (const machine of cluster.machines) machine.process?.points.crash()
  }
  const writes = [...cluster.tree.writes.values()]
  return {
    seed: o.seed,
    mutant: o.mutant,
    profile,
    steps,
    writes: writes.length,
    acked: writes.filter(({ told }) => told === 'acked').length,
    counts: Object.fromEntries(cluster.counts),
    hash: cluster.trace.hash,
    failures,
    trace: failures.length > 0 ? cluster.trace.last() : [],
  }
}

/** Nothing more goes wrong, everybody comes back, and time passes until all have arrived, at most so many ticks. */
async function calm(cluster: Cluster): Promise<void> {
  cluster.trace.say('from here on nothing goes wrong')
  cluster.absent = undefined
  // The service sees to it that one writes.
  for (const { process } of cluster.writers) if (process.machine !== cluster.primary) cluster.stop(process.machine, 'kill')
  const { network } = cluster
  network.corrupt(0)
  network.duplicate(0)
  network.breakAt(0)
  for (let ticks = 0; ticks < CALM_TICKS; ticks += 10) {
    network.heal()
    await EVENTS.restart(cluster)
    if (cluster.unpromoted) await EVENTS.epoch(cluster)
    if (ticks % 100 === 0) cluster.assign()
    await cluster.clock.advance(10 * CALM_TICK_MS)
    await cluster.breathe(TURNS)
    await cluster.observe()
    if (ticks > 100 && hasArrived(cluster)) break
  }
  for (const node of cluster.nodes.values()) cluster.look(node)
  for (let i = 0; i < 20; i++) await cluster.breathe(20)
  await cluster.observe()
  for (const checker of cluster.checkers) checker.end?.(cluster)
  if (cluster.failure !== undefined) throw cluster.failure
}

/** Whoever is halted waits for its operator, and no tick changes that. */
function hasArrived({ writer, nodes, machines, places, primary }: Cluster): boolean {
  if (writer?.state !== 'open' || nodes.size < machines.length || writer.inFlight > 0) return false
  const states = new Map(writer.senders.map(({ replicaId, state }) => [replicaId as string, state]))
  const head = places.get(primary)!
  const isThere = machines.every((machine) => {
    const state = machine === primary ? 'in_sync' : states.get(machine.name)
    return state === 'halted' || (state === 'in_sync' && places.get(machine) === head)
  })
  // Who is halted confirms nothing.
  return isThere && (writer.committed >= head.lsn || writer.senders.some(({ state }) => state === 'halted'))
}

function drawer({ profile, dice }: Cluster): () => EventName {
  const entries = Object.entries(profile.weights) as [EventName, number][]
  // Twentieths, so that half a percent counts.
  const total = entries.reduce((sum, [, weight]) => sum + weight * 20, 0)
  return () => {
    let at = dice.int(total)
    return entries.find(([, weight]) => (at -= weight * 20) < 0)![0]
  }
}
