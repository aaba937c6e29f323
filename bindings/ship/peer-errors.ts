// ship/peer-errors.ts: errors on the wire: what an `error` frame carries, and the class that its code stands for on the other side.
//
// Invariant: every code of CODES and SHIP_CODES comes back as its class with its code and details; what is of no known code is a TransportError that names it.
import * as errors from '../errors.ts'
import * as shipErrors from '../errors-ship.ts'
import { DecodeError, type Message, ShipFrameError } from '../format/index.ts'

type ErrorMessage = Extract<Message, { readonly type: 'error' }>
type AnyError = new (...parts: readonly unknown[]) => errors.VarveError

const MESSAGE_CHARS_MAX = 4096
const DETAILS_CHARS_MAX = 16 * 1024
const CLASSES: Readonly<Record<string, unknown>> = { ...errors, ...shipErrors }
const INFOS: Readonly<Record<string, errors.ErrorInfo>> = { ...errors.CODES, ...shipErrors.SHIP_CODES }

/** What goes out for an error that closes a connection; undefined for one that is not varve's own (an abort): the connection just ends. */
export function errorMessage(error: unknown): ErrorMessage | undefined {
  if (!(error instanceof errors.VarveError)) return undefined
  const { code, message, details } = error
  return { type: 'error', code, message: message.slice(0, MESSAGE_CHARS_MAX), details: isShort(details) ? details : {} }
}

/** The error that the other side told of. */
export function errorFromPeer({ code, message, details }: ErrorMessage): errors.VarveError {
  return rebuilt(code, message, details) ?? new shipErrors.TransportError(`the other side stopped: ${message}`, { details: { ...details, code } })
}

function rebuilt(code: string, message: string, details: Readonly<Record<string, unknown>>): errors.VarveError | undefined {
  const type = Object.hasOwn(INFOS, code) ? CLASSES[INFOS[code]!.class] : undefined
  if (typeof type !== 'function') return undefined
  try {
    const Class = type as AnyError
    const given = CLASSES['StorageError'] === type ? { ...details, class: code === 'root.not-found' ? 'notFound' : code.slice('root.'.length) } : details
    // Classes of several codes take the code first; a StorageError makes it of its details.
    const error = Class.length === 3 ? new Class(code, message, { details: given }) : new Class(message, { details: given })
    return error.code === code ? error : undefined
  } catch {
    return undefined
  }
}

/** What a connection's bytes were refused for, as an error of shipping; other errors as they are. */
export function frameFault(error: unknown): unknown {
  if (error instanceof DecodeError) return new shipErrors.UnknownFrameError(`a frame that says nothing known: ${error.message}`, { details: {}, cause: error })
  if (!(error instanceof ShipFrameError)) return error
  const { message } = error
  const init = { details: {}, cause: error }
  switch (error.fault) {
    case 'too-large':
      return new shipErrors.FrameTooLargeError(message, init)
    case 'checksum':
      return new shipErrors.FrameChecksumError(message, init)
    case 'truncated':
      return new shipErrors.TruncatedFrameError(message, init)
    case 'unknown':
      return new shipErrors.UnknownFrameError(message, init)
  }
}

function isShort(details: object): boolean {
  try {
    const text = JSON.stringify(details, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))
    return text.length <= DETAILS_CHARS_MAX
  } catch {
    return false
  }
}
