// root/create-once.ts: a create-if-absent whose answer may be lost (roots.md section 4): asked again until it is known who made the object.
//
// The body carries a random attempt id, which decides whether the object found under the name is ours. Every retry has the same name, the same bytes and the
// same id. Invariant: `created` only if our bytes are under the name, `exists` only if another's are; what cannot be told is StorageError `unknown`, and nobody
// may move on to the next name before it is.
import { isNotFound } from './absent.ts'
import { StorageError, type StorageErrorClass, VarveError } from '../errors.ts'

import { BackOff, type BackOffWorld, type RetryOptions } from './back-off.ts'
import type { Root } from './root.ts'

export interface CreateOnceOptions {
  readonly world: BackOffWorld
  /** 16 random bytes that the body carries. */
  readonly attempt: Uint8Array
  /** The attempt id in a body found under the name; undefined when it is none of ours. */
  readonly attemptOf: (bytes: Uint8Array) => Uint8Array | undefined
  readonly retry?: Partial<RetryOptions>
  /** An earlier call with this id ended without an answer. */
  readonly unknown?: boolean
  readonly signal?: AbortSignal | undefined
}

export interface CreateOnceResult {
  readonly status: 'created' | 'exists'
  /** What was found under the name, when it was read. */
  readonly bytes?: Uint8Array
}

/** What an error of one attempt says about that attempt. */
type Verdict = 'unsent' | 'again' | 'unknown' | 'refused' | 'full' | 'garbled'

/** One attempt that failed with this class; `details.sent === false`: connection refused, name not resolved, not signed. */
const VERDICT: Readonly<Record<StorageErrorClass, Verdict>> = {
  unavailable: 'unknown', // 5xx, 429
  timeout: 'unknown',
  unknown: 'unknown', // reset after bytes were sent, a success status with an error body
  io: 'unknown', // a local root whose directory sync failed has given the name already
  precondition: 'again', // 409, conflict in flight: says nothing about taken or free
  corrupt: 'garbled', // 400, the digest did not match on arrival
  space: 'full',
  permission: 'refused',
  unsupported: 'refused',
  notFound: 'refused', // no such bucket
  exists: 'refused',
}

/**
 * Creates `name` unless something is there.
 *
 * @throws StorageError `unknown` { name, attempt }: the object may be there, now or later; call again with `unknown: true` to learn it
 * @throws StorageError of any other class: no attempt of this call wrote anything
 * @cost one request; after a lost answer one more, and a read
 */
export async function createOnce(root: Root, name: string, bytes: Uint8Array, o: CreateOnceOptions): Promise<CreateOnceResult> {
  o.signal?.throwIfAborted()
  const backOff = new BackOff(o.world, o.retry)
  let unknown = o.unknown === true
  let garbled = 0
  for (;;) {
    let failed: unknown
    try {
      const { status } = await root.putIfAbsent(name, bytes, { attempt: o.attempt, ...(o.signal === undefined ? {} : { signal: o.signal }) })
      if (status === 'created' || !unknown) return { status }
      const found = await whose(root, name, o)
      if (found !== undefined) return found
    } catch (error) {
      failed = error
      const verdict = verdictOf(error)
      unknown ||= verdict === 'unknown'
      if (verdict === 'full') {
        // A device that was full may still have given the name: the name itself tells, and on a local root nothing comes late.
        const found = await whose(root, name, o).catch(() => undefined)
        if (found !== undefined) return found
      }
      if (verdict === 'refused' || verdict === 'full' || (verdict === 'garbled' && ++garbled > 1)) return giveUp(root, name, o, unknown, error)
    }
    const again = await backOff.next(failed, o.signal).catch((reason: unknown) => {
      failed = reason
      return false
    })
    if (!again) return giveUp(root, name, o, unknown, failed)
  }
}

/** No more attempts. The object may be there for all that: that is asked last. */
async function giveUp(root: Root, name: string, o: CreateOnceOptions, unknown: boolean, cause: unknown): Promise<CreateOnceResult> {
  if (!unknown) throw cause
  const found = await whose(root, name, o).catch(() => undefined)
  if (found !== undefined) return found
  throw unknownOutcome(name, o.attempt, cause)
}

/** @returns undefined when there is nothing under the name: then it is tried again */
async function whose(root: Root, name: string, o: CreateOnceOptions): Promise<CreateOnceResult | undefined> {
  try {
    const { bytes } = await root.get(name)
    return { status: isSame(o.attemptOf(bytes), o.attempt) ? 'created' : 'exists', bytes }
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

function verdictOf(error: unknown): Verdict {
  // An abort, or what nobody knows: the request may be on its way. Our own other errors are told before anything is sent.
  if (!(error instanceof StorageError)) return error instanceof VarveError ? 'refused' : 'unknown'
  return error.details['sent'] === false ? 'unsent' : VERDICT[error.class]
}

function unknownOutcome(name: string, attempt: Uint8Array, cause: unknown): StorageError {
  return new StorageError(`putIfAbsent ${name}: whether it was created is not known`, {
    details: { op: 'putIfAbsent', name, class: 'unknown', attempt: attempt.slice() } as { op: string; name: string; class: 'unknown' },
    hint: 'Read the name back before writing again.',
    cause,
  })
}

function isSame(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.length === b.length && a.every((byte, i) => byte === b[i])
}
