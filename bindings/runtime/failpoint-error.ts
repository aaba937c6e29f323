// runtime/failpoint-error.ts: the error that a failpoint throws, from a class of storage errors, a code, or as it was given; and the one for tests that misuse it.
//
// Invariant: what is thrown is of the class that carries the code, so that code under test cannot tell it from a real one.
import * as errors from '../errors.ts'
import type { ErrorCode, StorageErrorClass, VarveError } from '../errors.ts'

/** A failpoint was misused, missed or left parked: the test is wrong, not the store. */
export class FailpointError extends Error {
  override readonly name: string = 'FailpointError'
}

type Maker = new (...args: unknown[]) => VarveError

/** @param at  the failpoint, for the message */
export function errorOf(what: StorageErrorClass | ErrorCode | Error, at: string): Error {
  if (typeof what !== 'string') return what
  if (!what.includes('.')) return storageError(what as StorageErrorClass, at)
  const info = errors.CODES[what as ErrorCode]
  if (info.class === 'StorageError') return storageError(classOf(what), at)
  const make = (errors as unknown as Record<string, Maker>)[info.class]!
  const message = `failpoint ${at}: ${what}`
  // What the details of a real one would say: enough for every constructor.
  const details = { failpoint: at, head: 0n, scope: 'writer', held: 0n, seen: 0n, asked: 0n, floor: 0n, tail: 0n, writeId: '', what: at, name: at, file: at }
  // A class of several codes is given its code first.
  const error = make.length === 3 ? new make(what, message, { details }) : new make(message, { details })
  return error
}

function storageError(storageClass: StorageErrorClass, at: string): Error {
  return new errors.StorageError(`failpoint ${at}: ${storageClass}`, { details: { op: at, name: at, class: storageClass } })
}

/** 'root.not-found' is the code of the class notFound. */
function classOf(code: string): StorageErrorClass {
  return code.slice(code.indexOf('.') + 1).replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()) as StorageErrorClass
}
