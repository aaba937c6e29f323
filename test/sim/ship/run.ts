// `npm run sim -- ship`: seeds over threads, or with `--mutants` each defect of mutants.ts until it is noticed.

import { MUTANTS } from './mutants.ts'
import { type ProfileName, PROFILE_NAMES } from './profiles.ts'
import { runShards } from './shards.ts'
import type { ShipOptions } from './simulate.ts'

export interface ShipRunOptions {
  readonly first: number
  readonly seeds: number
  readonly events?: number
  readonly profile?: string
  readonly failFast: boolean
  readonly say: (line: string) => void
  readonly complain: (line: string) => void
}

/** @returns what the closing line says */
export async function runShip(o: ShipRunOptions): Promise<Record<string, number>> {
  const { profile } = o
  if (profile !== undefined && !PROFILE_NAMES.includes(profile as ProfileName))
    throw new Error(`no profile is called ${profile}; there are: ${PROFILE_NAMES.join(', ')}`)
  const total = { seeds: 0, steps: 0, failures: 0 }
  await runShards(optionsOf(o), ({ steps, failures, trace }) => {
    total.seeds++
    total.steps += steps
    total.failures += failures.length
    for (const line of trace) o.complain(line)
    for (const failure of failures) o.complain(`FAILED ${failure}`)
    if (total.seeds % 100 === 0) o.say(JSON.stringify(total))
    return !(o.failFast && total.failures > 0)
  })
  return total
}

/** Every defect must be noticed by some seed. @returns what the closing line says: `failures` are defects that no seed noticed */
export async function runMutants(o: ShipRunOptions): Promise<Record<string, number>> {
  const total = { seeds: 0, steps: 0, failures: 0 }
  for (const { name } of MUTANTS) {
    let found: string | undefined
    await runShards(
      Array.from(optionsOf(o), (each) => ({ ...each, mutant: name })),
      ({ seed, steps, failures }) => {
        total.seeds++
        total.steps += steps
        if (failures.length > 0)
          found ??= `seed ${seed}: ${failures[0]!
            .split('\n')[0]!
            .replace(/^seed \d+, /, '')
            .slice(0, 160)}`
        return found === undefined
      },
    )
    if (found === undefined) total.failures++
    o.say(`${name}: ${found ?? `not noticed by ${o.seeds} seeds`}`)
  }
  return total
}

function* optionsOf({ first, seeds, events, profile }: ShipRunOptions): Iterable<ShipOptions> {
  for (let seed = first; seed < first + seeds; seed++) {
    yield { seed, ...(events === undefined ? {} : { events }), ...(profile === undefined ? {} : { profile: profile as ProfileName }) }
  }
}
