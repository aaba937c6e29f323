// testing/rendezvous.ts: how a test reaches the failpoints of a world, and meets what it tests at one of them.
//
//   test                                    store
//   using rv = rendezvous(world, FP.a.b)
//   await rv.reached()   <----------------  hit(FP.a.b)   the first to arrive parks here, later ones pass
//   ... looks, writes, opens another ...
//   rv.release()         ---------------->  goes on
import { type ArmedFailpoint, FailpointError, type FailpointName, FailpointRegistry, type World } from '../runtime/index.ts'

/**
 * The registry of a world that was made with one, as fakeWorld's are.
 *
 * @throws FailpointError for a world without: give it `failpoints: new FailpointRegistry(world.timers)`
 * @example using fp = failpoints(world).arm(FP.publish.beforeAppend, { error: 'unavailable', times: 1, after: 2 })
 */
export function failpoints(world: Pick<World, 'failpoints'>): FailpointRegistry {
  const registry = world.failpoints
  if (registry instanceof FailpointRegistry) return registry
  throw new FailpointError('this world has no failpoints: make it with { failpoints: new FailpointRegistry(timers) }')
}

export interface RendezvousOptions {
  readonly when?: (context: Readonly<Record<string, unknown>>) => boolean
  /** Arrivals that pass before the one that parks; default 0. */
  readonly after?: number
  readonly mayMiss?: true
}

/**
 * Parks the first arrival at a failpoint; later ones fall through. Ends with the scope: whoever is parked goes on. A park of 30 s fails the site and the scope.
 *
 * @example using rv = rendezvous(world, FP.publish.beforeAppend); const work = store.commit(w); await rv.reached(); rv.release(); await work
 */
export function rendezvous(world: Pick<World, 'failpoints'>, name: FailpointName, o: RendezvousOptions = {}): ArmedFailpoint {
  return failpoints(world).arm(name, { ...o, park: true, times: 1 })
}
