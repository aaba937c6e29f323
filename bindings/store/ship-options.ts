// store/ship-options.ts: what ship() takes, checked and completed.

import { InvalidConfigError } from '../errors.ts'
import type { TlsOptions } from '../runtime/index.ts'
import type { AckMode, Assignment, CatchUpBudget, Endpoint, Transport } from '../ship/index.ts'
import { checkKnown } from './known-options.ts'

/** One replica as it is named to ship() and assign(). */
export interface ReplicaTarget {
  /** 1 to 128 bytes of letters, digits, `.`, `_`, `:`, `-`; stays when the address changes. */
  readonly id: string
  /** `host:port`, or with a version of the caller's own: a higher one wherever the address changes. */
  readonly endpoint: string | Endpoint
  /** Learners follow and are never counted. Default voter. */
  readonly role?: 'voter' | 'learner'
}

/** An address alone: the replica there is asked for its id, so it must be up. */
export type ReplicaGiven = ReplicaTarget | string

/** What a replica that falls behind may hold back. */
export interface ShipRetention {
  /** Log above a pin. Default 1 GiB; 0: any. */
  readonly maxPinnedBytes?: number
  /** A pin that does not move. Default 10 min; 0: for ever. */
  readonly maxPinAgeMs?: number
  /** After a live stream broke off. Default 60 s. */
  readonly degradedPinMs?: number
}

export interface ShipOptions {
  readonly replicas?: readonly ReplicaGiven[]
  /** In place of `replicas`: with an epoch and sessions of the caller's choice. */
  readonly assignment?: Assignment
  /** How many nodes must have a commit before it resolves. Default: what the log says, `async` in a store that never shipped otherwise. */
  readonly ack?: AckMode
  /** The same as `ack`. */
  readonly mode?: AckMode
  /** Default: TCP. */
  readonly transport?: Transport
  /** TCP: 32 bytes that both sides know, or 64 hex digits; needed wherever an address is not of this machine. */
  readonly key?: string | Uint8Array
  /** TCP: encrypts the connections; the key is still asked for. */
  readonly tls?: TlsOptions
  /** Of each catch-up; what is passed becomes a rebuild. */
  readonly budget?: Partial<CatchUpBudget>
  readonly retention?: ShipRetention
  /** Replicas that need a rebuild get one. Default true. */
  readonly autoRebuild?: boolean
  /**
   * Catch up by the log where a vacuum has taken files on the way, and leave those out, in place of a rebuild: the replica has no history below the target then.
   * Default false.
   */
  readonly elideDead?: boolean
  /** Default 1. */
  readonly maxParallelRebuilds?: number
  /** Default none: a replica that cannot keep up falls behind. */
  readonly backpressure?: 'none' | 'throttle'
  /** Default 5,000. */
  readonly ackTimeoutMs?: number
  /** Records that a live stream may be behind before it counts as degraded. Default 65,536. */
  readonly maxLag?: number
  /** Records that a live stream may begin with. Default 65,536. */
  readonly maxHandoverLag?: number
  /** Modes quorum and all: write although too few replicas are reachable; the outcome is open until they are. Default false. */
  readonly allowIndeterminate?: boolean
  /** Keep every step of a recovery in the log of events. Default false. */
  readonly verbose?: boolean
}

const KNOWN: readonly string[] = [
  'replicas',
  'assignment',
  'ack',
  'mode',
  'transport',
  'key',
  'tls',
  'budget',
  'retention',
  'autoRebuild',
  'elideDead',
  'maxParallelRebuilds',
  'backpressure',
  'ackTimeoutMs',
  'maxLag',
  'maxHandoverLag',
  'allowIndeterminate',
  'verbose',
] satisfies (keyof ShipOptions)[]
const RETENTION: readonly string[] = ['maxPinnedBytes', 'maxPinAgeMs', 'degradedPinMs'] satisfies (keyof ShipRetention)[]
const MODES: readonly unknown[] = ['async', 'quorum', 'all']

export interface ResolvedShipOptions {
  readonly given: ShipOptions
  readonly ack: AckMode | undefined
  readonly degradedPinMs: number
  readonly autoRebuild: boolean
  readonly elideDead: boolean
  readonly maxParallelRebuilds: number
  readonly backpressure: 'none' | 'throttle'
  readonly ackTimeoutMs: number
  readonly maxLag: number
  readonly maxHandoverLag: number
  readonly allowIndeterminate: boolean
}

/** @throws InvalidConfigError */
export function resolveShipOptions(given: ShipOptions): ResolvedShipOptions {
  checkKnown('ship', given, KNOWN)
  const { replicas, assignment, ack, mode, transport, key, retention = {}, backpressure = 'none' } = given
  checkKnown('ship: retention', retention, RETENTION)
  if ((replicas === undefined) === (assignment === undefined)) throw wrong('replicas', replicas, 'ship needs either replicas or an assignment')
  if (replicas !== undefined && !Array.isArray(replicas)) throw wrong('replicas', replicas, 'replicas is a list')
  if (ack !== undefined && mode !== undefined && ack !== mode) throw wrong('mode', mode, `mode and ack are two names of one option; ack is ${ack}`)
  const chosen = ack ?? mode
  if (chosen !== undefined && !MODES.includes(chosen)) throw wrong('ack', chosen, 'ack is async, quorum or all')
  if (backpressure !== 'none' && backpressure !== 'throttle') throw wrong('backpressure', backpressure, 'backpressure is none or throttle')
  if (transport !== undefined && (key !== undefined || given.tls !== undefined))
    throw wrong('key', undefined, 'key and tls are for the TCP transport; a transport of its own brings its own')
  return {
    given,
    ack: chosen,
    degradedPinMs: atLeast('retention.degradedPinMs', retention.degradedPinMs ?? 60_000, 0),
    autoRebuild: given.autoRebuild ?? true,
    elideDead: given.elideDead ?? false,
    maxParallelRebuilds: atLeast('maxParallelRebuilds', given.maxParallelRebuilds ?? 1, 1),
    backpressure,
    ackTimeoutMs: atLeast('ackTimeoutMs', given.ackTimeoutMs ?? 5000, 1),
    maxLag: atLeast('maxLag', given.maxLag ?? 65_536, 1),
    maxHandoverLag: atLeast('maxHandoverLag', given.maxHandoverLag ?? 65_536, 0),
    allowIndeterminate: given.allowIndeterminate ?? false,
  }
}

function atLeast(key: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least) throw wrong(key, value, `${key} is a whole number, ${least} at least`)
  return value
}

export function wrong(key: string, value: unknown, message: string): InvalidConfigError {
  return new InvalidConfigError(message, { details: { key, value } })
}
