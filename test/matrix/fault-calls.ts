// The faults of the storage-fault matrix: what can go wrong with which call of a Root, and what the object is to a store whose call it is.
//
// Invariant: a call is named by its method and the role of its name (INTENT, staged file, slot, ...), never by the name itself, so that cells of two runs compare.
import type { StorageErrorClass } from '../../bindings/index.ts'
import { soon } from '../../bindings/runtime/index.ts'
import type { RootCall, RootFaultPlan, RootMethod } from '../../bindings/testing/index.ts'

const ROLES: readonly (readonly [RegExp, string])[] = [
  [/^staging\/[^/]+\/INTENT$/, 'INTENT'],
  [/^staging\/[^/]+\/LEASE$/, 'LEASE'],
  [/^staging\/[^/]+\/[^/]+\.keys$/, 'staged keys'],
  [/^staging\/[^/]+\/[^/]+\.[a-z]+$/, 'staged file'],
  [/^staging\/[^/]+\/?$/, 'staging folder'],
  [/^staging\/?$/, 'staging'],
  [/^fragments\/?$|^indexes\/?$/, 'content folders'],
  [/^fragments\/.*\.dv$/, 'deletion vector'],
  [/^fragments\//, 'fragment'],
  [/^indexes\//, 'index'],
  [/^checkpoints\/?/, 'checkpoint'],
  [/^log\/free-/, 'free segment'],
  [/^log\/[0-9]+\.wal$/, 'segment'],
  [/^log\/[0-9]+$/, 'slot'],
  [/^log\/?$/, 'log folder'],
]

/** What the name is to the store. */
export function roleOf(name: string): string {
  if (name === '') return 'top'
  for (const [pattern, role] of ROLES) if (pattern.test(name)) return role
  return name.split('/')[0]!.replace(/\..*$/, '')
}

export function callName({ method, name }: Pick<RootCall, 'method' | 'name'>): string {
  return `${method} ${roleOf(name)}`
}

export interface Fault {
  readonly name: string
  readonly error?: StorageErrorClass
  readonly when?: 'before' | 'after' | 'half'
  /** Later calls that fail as well, until the write has come to its end: those of this method and role, or all that the fault is about. */
  readonly lasts?: 'call' | 'all'
}

const ONCE: readonly Fault[] = [
  { name: 'io', error: 'io' },
  { name: 'io after', error: 'io', when: 'after' },
  { name: 'io half', error: 'io', when: 'half' },
  { name: 'space', error: 'space' },
  { name: 'space half', error: 'space', when: 'half' },
  { name: 'permission', error: 'permission' },
  { name: 'busy', error: 'unavailable' },
  { name: 'lost', error: 'timeout', when: 'after' },
  { name: 'slow' },
]
const LASTING: readonly Fault[] = [
  { name: 'io, lasting', error: 'io', lasts: 'call' },
  { name: 'lost, lasting', error: 'timeout', when: 'after', lasts: 'call' },
  { name: 'outage', error: 'unavailable', lasts: 'all' },
  { name: 'dead disk', error: 'io', lasts: 'all' },
  { name: 'full disk', error: 'space', lasts: 'all' },
]
export const FAULTS: readonly Fault[] = [...ONCE, ...LASTING]

const READS = new Set<RootMethod>(['get', 'head', 'exists', 'list', 'hold', 'isCurrent', 'segment.read'])
/** What needs room. */
const GROWS = new Set<RootMethod>(['put', 'putIfAbsent', 'putLarge', 'link', 'rename', 'segment', 'segment.write'])
/** Calls on an open file are asked nothing about permission, and answered by no network. */
const OPEN_FILE = new Set<RootMethod>(['isCurrent', 'segment.read', 'segment.write', 'segment.datasync', 'segment.truncate', 'segment.close'])

/** Whether that can happen to such a call. */
export function canMeet(method: RootMethod, { error, when }: Fault): boolean {
  if (error === 'space' && !GROWS.has(method)) return false
  if (when === 'half') return method === 'segment.write'
  if (when === 'after' && READS.has(method) && method !== 'list') return false
  return !OPEN_FILE.has(method) || error === undefined || error === 'io' || error === 'space'
}

const SLOW_TURNS = 40

/** The k-th call from now fails. @param struck  told of each call that does */
export function planOf(fault: Fault, k: number, struck: (call: RootCall) => void): RootFaultPlan {
  let n = 0
  let first: RootCall | undefined
  const strike = (call: RootCall): ReturnType<RootFaultPlan> => {
    struck(call)
    if (fault.error === undefined) return { wait: slowly }
    return { error: fault.error, when: fault.when ?? 'before' }
  }
  return (call) => {
    n++
    if (n === k) {
      first = call
      return strike(call)
    }
    if (n < k || fault.lasts === undefined || !canMeet(call.method, fault)) return undefined
    return fault.lasts === 'all' || callName(call) === callName(first!) ? strike(call) : undefined
  }
}

async function slowly(): Promise<void> {
  for (let i = 0; i < SLOW_TURNS; i++) await new Promise<void>((resolve) => soon(resolve))
}
