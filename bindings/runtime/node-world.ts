// runtime/node-world.ts: the World of a real process. Deno and Bun offer the same `node:` modules, so the three differ only in what they refuse.
import { NO_FAILPOINTS } from './failpoints.ts'
import { guardLogger, silentLogger } from './logger.ts'
import { nodeFiles } from './node-files.ts'
import { nodeHost } from './node-host.ts'
import { systemClock, systemTimers } from './clock.ts'
import { systemRandom } from './random.ts'
import { INLINE_ONLY } from './workers.ts'
import type { Network, World } from './world.ts'

let shared: World | undefined

/** The world of the runtime we are in; one per process. */
export function defaultWorld(): World {
  const globals = globalThis as { Deno?: unknown; Bun?: unknown }
  shared ??= globals.Deno !== undefined ? denoWorld() : globals.Bun !== undefined ? bunWorld() : nodeWorld()
  return shared
}

/** Completes what a caller gave with the default world; a given logger is guarded. */
export function fillWorld(partial?: Partial<World>): World {
  const base = defaultWorld()
  if (partial === undefined) return base
  const given = Object.fromEntries(Object.entries(partial).filter(([, value]) => value !== undefined)) as Partial<World>
  const world = { ...base, ...given }
  return { ...world, logger: guardLogger(world.logger) }
}

export function nodeWorld(): World {
  return {
    clock: systemClock,
    timers: systemTimers,
    random: systemRandom(),
    logger: silentLogger,
    failpoints: NO_FAILPOINTS,
    workers: INLINE_ONLY,
    network: lazyNetwork,
    files: nodeFiles,
    host: nodeHost(),
    env: readEnv(),
  }
}

/** Deno asks for --allow-env, --allow-sys and --allow-read; without the first, the environment counts as empty. */
export function denoWorld(): World {
  return nodeWorld()
}

export function bunWorld(): World {
  return nodeWorld()
}

/** Sockets are loaded by the first who wants one. */
const lazyNetwork: Network = {
  connect: async (address, o) => (await import('./node-network.ts')).nodeNetwork.connect(address, o),
  listen: async (address, o) => (await import('./node-network.ts')).nodeNetwork.listen(address, o),
}

function readEnv(): Readonly<Record<string, string | undefined>> {
  try {
    // Read through the prototype: whoever logs something that holds a world logs no secrets with it.
    return Object.create(Object.freeze({ ...process.env })) as Readonly<Record<string, string | undefined>>
  } catch {
    return Object.freeze({})
  }
}
