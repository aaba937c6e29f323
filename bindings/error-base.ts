// error-base.ts: what every error of varve has; the classes are errors.ts, errors-evolution.ts and errors-kernel.ts, their codes error-codes.ts.

import { CODES, type ErrorCode, type ErrorInfo, type ErrorKind } from './error-codes.ts'
import type { ShipErrorCode } from './error-codes-ship.ts'

export interface ErrorInit<D extends object = object> {
  readonly details: D
  readonly hint?: string
  readonly cause?: unknown
}

/** Base of every error varve throws on purpose. */
export class VarveError extends Error {
  override readonly name: string = 'VarveError'
  readonly code: ErrorCode | ShipErrorCode
  readonly kind: ErrorKind
  /** One imperative sentence: what to do. */
  readonly hint: string
  /** Machine-readable facts; also properties of the error. */
  readonly details: Readonly<Record<string, unknown>>
  constructor(code: ErrorCode | ShipErrorCode, message: string, init: ErrorInit, info: ErrorInfo = CODES[code as ErrorCode]) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause })
    this.code = code
    this.kind = info.kind
    this.hint = init.hint ?? info.hint
    this.details = Object.freeze({ ...init.details })
  }
  /** The same call may succeed later. Never true where the outcome is undecided. */
  get retryable(): boolean {
    return this.kind === 'unavailable' && this.code !== 'write.outcome-unknown' && this.code !== 'root.unknown' && this.code !== 'ship.ack-timeout'
  }
  toJSON(): Record<string, unknown> {
    return { name: this.name, code: this.code, kind: this.kind, message: this.message, hint: this.hint, details: jsonSafe(this.details) }
  }
}

/** Bigints become decimal strings, so that details can be printed as JSON. */
function jsonSafe(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? v.toString() : v)) ?? 'null')
}
