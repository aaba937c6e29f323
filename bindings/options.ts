// options.ts: every default, with its unit and the reason; resolved once, at the public door.
//
// Invariant: everything inside receives a complete, checked value; unknown keys and values out of range are refused with InvalidConfigError { key, value }.

import { InvalidConfigError } from './errors.ts'
import type { World } from './runtime/index.ts'

const KiB = 1024
const MiB = 1024 * KiB

export interface ResolvedOptions {
  readonly create: 'if-missing' | 'must' | 'never'
  readonly readOnly: boolean
  readonly follow: boolean
  readonly durability: 'synced' | 'buffered'
  readonly groupCommitMs: number
  readonly bufferedSyncMs: number
  readonly segmentBytes: number
  readonly inlineLimitBytes: number
  readonly sealMode: 'fused' | 'separate'
  /** undefined: as the store was made; a new one on a memory or local root is exclusive. */
  readonly writers: 'shared' | 'exclusive' | undefined
  /** To claim, at least. */
  readonly epoch: number | undefined
  readonly publishRetries: number
  readonly openRetry: { readonly delaysMs: readonly number[]; readonly cleanupStale: boolean }
  readonly memory: {
    readonly cacheBytes: number
    readonly writeBytes: number
    /** Of the shared instance of a thread, and of that which each running grouped aggregate has for itself. */
    readonly kernelBytes: number
    readonly transactionBytes: number
    readonly sortBytes: number
    readonly snapshotWarnMs: number
  }
  readonly upkeep: 'auto' | 'manual'
  readonly threads: number | 'auto'
  readonly meter: MeterLike | undefined
  readonly world: Partial<World> | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((p: never) => void) | undefined
}

interface MeterLike {
  add(name: string, value: number, attributes?: Record<string, string>): void
  record(name: string, value: number, attributes?: Record<string, string>): void
}

interface Defaults extends Omit<ResolvedOptions, 'meter' | 'world' | 'signal' | 'onProgress'> {
  /** Log to replay at the next open. */
  readonly checkpointBytes: number
  /** A table's rows in memory before they become a fragment. */
  readonly flushBytes: number
}

export const DEFAULTS: Defaults = Object.freeze({
  create: 'if-missing',
  readOnly: false,
  follow: true,
  durability: 'synced', // a resolved commit survives power loss
  writers: undefined, // whoever made the store decided how its log is kept
  epoch: undefined, // the one behind the highest that is known here
  publishRetries: 8, // further tries of a write that lost its slot in a shared log
  groupCommitMs: 0, // a lone writer is not delayed; > 0 holds a group open for company
  bufferedSyncMs: 100, // what a power loss may cost under "buffered"
  segmentBytes: 16 * MiB, // one segment replays in well under a second
  inlineLimitBytes: 256 * KiB, // above it a write is staged as fragments: some twenty inline commits' worth of syncs
  sealMode: 'fused', // one log append for a load; "separate" costs one more and loses no work to a crash while files get their names
  openRetry: Object.freeze({ delaysMs: Object.freeze([50, 100, 200, 400, 800]), cleanupStale: true }), // a deploy that overlaps its predecessor
  memory: Object.freeze({
    cacheBytes: 256 * MiB,
    writeBytes: 64 * MiB,
    kernelBytes: 512 * MiB,
    transactionBytes: 64 * MiB,
    sortBytes: 256 * MiB,
    snapshotWarnMs: 10 * 60 * 1000,
  }),
  upkeep: 'auto',
  threads: 'auto',
  checkpointBytes: 16 * MiB, // log to replay at the next open
  flushBytes: 16 * MiB, // a table's rows in memory before they become a fragment
})

/**
 * The highest epoch that anybody may ask for by its number. Opens and promotions count on from there, one at a time: twice as much is met only by mistake, and still
 * fits the names of LOCK files and the numbers of JavaScript.
 */
export const EPOCH_MAX: number = 2 ** 48

type Check = (value: unknown) => boolean

const oneOf =
  (...values: readonly unknown[]): Check =>
  (value) =>
    values.includes(value)
const whole =
  (low: number, high: number): Check =>
  (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= low && value <= high
const isBoolean: Check = (value) => typeof value === 'boolean'
const isObject: Check = (value) => typeof value === 'object' && value !== null

const CHECKS: Readonly<Record<string, Check>> = {
  create: oneOf('if-missing', 'must', 'never'),
  readOnly: isBoolean,
  follow: isBoolean,
  durability: oneOf('synced', 'buffered'),
  writers: oneOf('shared', 'exclusive'),
  epoch: whole(1, EPOCH_MAX),
  sealMode: oneOf('fused', 'separate'),
  groupCommitMs: whole(0, 1000),
  bufferedSyncMs: whole(1, 60_000),
  segmentBytes: whole(16 * KiB, 1024 * MiB),
  inlineLimitBytes: whole(0, 16 * MiB),
  publishRetries: whole(0, 1000),
  openRetry: isObject,
  memory: isObject,
  upkeep: oneOf('auto', 'manual'),
  threads: (value) => value === 'auto' || whole(0, 64)(value),
  meter: isObject,
  world: isObject,
  signal: (value) => value instanceof AbortSignal,
  onProgress: (value) => typeof value === 'function',
}

const MEMORY_CHECKS: Readonly<Record<string, Check>> = {
  cacheBytes: whole(0, Number.MAX_SAFE_INTEGER),
  writeBytes: whole(64 * KiB, Number.MAX_SAFE_INTEGER),
  kernelBytes: whole(MiB, 4096 * MiB),
  transactionBytes: whole(1, Number.MAX_SAFE_INTEGER),
  sortBytes: whole(1, Number.MAX_SAFE_INTEGER),
  snapshotWarnMs: whole(1, Number.MAX_SAFE_INTEGER),
}

const RETRY_CHECKS: Readonly<Record<string, Check>> = {
  delaysMs: (value) => Array.isArray(value) && value.length <= 10 && value.every(whole(0, 60_000)),
  cleanupStale: isBoolean,
}

/** @throws InvalidConfigError */
export function resolveOptions(options: object = {}): ResolvedOptions {
  const given = checked(options, CHECKS, '')
  const memory = { ...DEFAULTS.memory, ...checked((given['memory'] as object | undefined) ?? {}, MEMORY_CHECKS, 'memory.') }
  const openRetry = { ...DEFAULTS.openRetry, ...checked((given['openRetry'] as object | undefined) ?? {}, RETRY_CHECKS, 'openRetry.') }
  const { checkpointBytes: _checkpoint, flushBytes: _flush, ...defaults } = DEFAULTS
  return { meter: undefined, world: undefined, signal: undefined, onProgress: undefined, ...defaults, ...given, memory, openRetry } as ResolvedOptions
}

function checked(options: object, checks: Readonly<Record<string, Check>>, prefix: string): Record<string, unknown> {
  const given: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue
    const check = checks[key]
    if (check === undefined) throw new InvalidConfigError(`no option ${prefix}${key}`, { details: { key: prefix + key, value } })
    if (!check(value)) throw new InvalidConfigError(`option ${prefix}${key} cannot be ${show(value)}`, { details: { key: prefix + key, value } })
    given[key] = value
  }
  return given
}

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
