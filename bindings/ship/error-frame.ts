// ship/error-frame.ts: an error as the last message of a link, and back: the same class, code and details on the other side.
//
// Details are JSON: a bigint travels as { "$n": "12" }. A code that this side does not know is a TransportError that names it.
import { CODES, CorruptionError, FencedError, HistoryUnavailableError, VarveError } from '../errors.ts'
import * as classes from '../errors-ship.ts'
import type { Message } from '../format/index.ts'

type ErrorMessage = Extract<Message, { type: 'error' }>
type Rebuilt = new (message: string, init: { details: never }) => Error

/** Of core errors that somebody handles apart. */
const CORE: Readonly<Record<string, Rebuilt>> = { 'log.fenced': FencedError, 'store.history-unavailable': HistoryUnavailableError }

/** What the other side is told. Errors that are not varve's are told as a failed transport: what they say is nobody else's concern. */
export function errorMessage(error: unknown): ErrorMessage {
  if (error instanceof VarveError) {
    return {
      type: 'error',
      code: error.code,
      message: error.message,
      details: mapped(error.details, (value) => (typeof value === 'bigint' ? { $n: value.toString() } : undefined)),
    }
  }
  return { type: 'error', code: 'ship.transport', message: error instanceof Error ? `internal error: ${error.name}` : 'internal error', details: {} }
}

/** The error that the other side ended the link with. */
export function errorOf({ code, message, details }: ErrorMessage): Error {
  const revived = mapped(details, (value) => {
    const digits = typeof value === 'object' && value !== null ? (value as { $n?: unknown }).$n : undefined
    return typeof digits === 'string' && /^\d{1,20}$/.test(digits) ? BigInt(digits) : undefined
  })
  const init = { details: revived as never }
  if (Object.hasOwn(classes.SHIP_CODES, code)) {
    const { class: name } = classes.SHIP_CODES[code as classes.ShipErrorCode]
    return new (classes as unknown as Record<string, Rebuilt>)[name]!(message, init)
  }
  const core = CORE[code]
  if (core !== undefined) return new core(message, init)
  if (code.endsWith('.corrupt') && Object.hasOwn(CODES, code)) return new CorruptionError(code as 'log.corrupt', message, init)
  if (Object.hasOwn(CODES, code)) return new VarveError(code as keyof typeof CODES, message, init)
  return new classes.TransportError(`the other side refused: ${message}`, { details: { ...revived, code } })
}

function mapped(details: Readonly<Record<string, unknown>>, change: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(details).map(([key, value]) => [key, change(value) ?? value]))
}
