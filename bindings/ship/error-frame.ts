// ship/error-frame.ts: an error as the last message of a link, and back: the same class, code and details on the other side.
//
// Invariant: every code of CODES and SHIP_CODES comes back as its class with its code and details; what is of no known code is a TransportError that names it.
// (Bigints and bytes in details are the codec's to carry.)
import { CODES, type ErrorInfo, StorageError, VarveError } from '../errors.ts'
import { FrameChecksumError, FrameTooLargeError, SHIP_CODES, TransportError, TruncatedFrameError, UnknownFrameError } from '../errors-ship.ts'
import { DecodeError, type Message, ShipFrameError } from '../format/index.ts'
import { ERROR_CLASSES } from './error-classes.ts'

type ErrorMessage = Extract<Message, { readonly type: 'error' }>
type AnyError = new (...parts: readonly unknown[]) => VarveError

const MESSAGE_CHARS_MAX = 4096
const DETAILS_CHARS_MAX = 16 * 1024
const INFOS: Readonly<Record<string, ErrorInfo>> = { ...CODES, ...SHIP_CODES }

/** Of an error about a link that ended before anything was answered. */
export const UNANSWERED_HINT = 'Look at its log. If it listens with TLS, give tls to this side too.'

/** What the other side is told. Errors that are not varve's are told as a failed transport: what they say is nobody else's concern. */
export function errorMessage(error: unknown): ErrorMessage {
  if (error instanceof VarveError) {
    const { code, message, details } = error
    return { type: 'error', code, message: message.slice(0, MESSAGE_CHARS_MAX), details: isShort(details) ? details : {} }
  }
  return { type: 'error', code: 'ship.transport', message: error instanceof Error ? `internal error: ${error.name}` : 'internal error', details: {} }
}

/** The error that the other side ended the link with. */
export function errorOf({ code, message, details }: ErrorMessage): VarveError {
  return rebuilt(code, message, details) ?? new TransportError(`the other side refused: ${message}`, { details: { ...details, code } })
}

function rebuilt(code: string, message: string, details: Readonly<Record<string, unknown>>): VarveError | undefined {
  const type = Object.hasOwn(INFOS, code) ? ERROR_CLASSES[INFOS[code]!.class] : undefined
  if (typeof type !== 'function') return undefined
  try {
    const Class = type as AnyError
    const given = type === StorageError ? { ...details, class: code === 'root.not-found' ? 'notFound' : code.slice('root.'.length) } : details
    // Classes of several codes take the code first; a StorageError makes it of its details.
    const error = Class.length === 3 ? new Class(code, message, { details: given }) : new Class(message, { details: given })
    return error.code === code ? error : undefined
  } catch {
    // Details that its class cannot do with: another version's.
    return undefined
  }
}

/** What a connection's bytes were refused for, as an error of shipping; other errors as they are. */
export function frameFault(error: unknown): unknown {
  if (error instanceof DecodeError) return new UnknownFrameError(`a frame that says nothing known: ${error.message}`, { details: {}, cause: error })
  if (!(error instanceof ShipFrameError)) return error
  const init = { details: {}, cause: error }
  switch (error.fault) {
    case 'too-large':
      return new FrameTooLargeError(error.message, init)
    case 'checksum':
      return new FrameChecksumError(error.message, init)
    case 'truncated':
      return new TruncatedFrameError(error.message, init)
    case 'unknown':
      return new UnknownFrameError(error.message, init)
  }
}

function isShort(details: object): boolean {
  try {
    return JSON.stringify(details, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)).length <= DETAILS_CHARS_MAX
  } catch {
    return false
  }
}
