// root/storage-error.ts: errno names to StorageError classes (roots.md section 4): typed evidence only, never message text.
//
// Invariant: permission, I/O and space errors never become notFound; what is not in the table is `io`.
import { StorageError, type StorageErrorClass, VarveError } from '../errors.ts'

const CLASS_OF: Readonly<Record<string, StorageErrorClass>> = {
  ENOENT: 'notFound',
  ENOTDIR: 'notFound',
  EEXIST: 'exists',
  EACCES: 'permission',
  EPERM: 'permission',
  EROFS: 'permission',
  ENOSPC: 'space',
  EDQUOT: 'space',
  EFBIG: 'space',
  ETIMEDOUT: 'timeout',
  EMFILE: 'unavailable',
  ENFILE: 'unavailable',
  EBUSY: 'unavailable',
  EAGAIN: 'unavailable',
  EWOULDBLOCK: 'unavailable',
  ENOMEM: 'unavailable',
  ESTALE: 'unavailable',
  ETXTBSY: 'unavailable',
  ENOTSUP: 'unsupported',
  EOPNOTSUPP: 'unsupported',
  ENOSYS: 'unsupported',
  EXDEV: 'unsupported',
  EMLINK: 'unsupported',
  EISDIR: 'unsupported',
  ENAMETOOLONG: 'unsupported',
  EINVAL: 'unsupported',
  ELOOP: 'unsupported',
}

/** The errno name an error carries, its own or its cause's. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code
  return cause === error ? undefined : errnoOf(cause)
}

/** Wraps what a file system threw; our own errors, aborts and RangeErrors pass unchanged. */
export function toStorageError(op: string, name: string, error: unknown): Error {
  if (error instanceof VarveError || error instanceof RangeError || isAbort(error)) return error as Error
  const errno = errnoOf(error)
  return storageError(op, name, (errno === undefined ? undefined : CLASS_OF[errno]) ?? 'io', errno ?? String(error), error)
}

export function storageError(op: string, name: string, cls: StorageErrorClass, why: string, cause?: unknown): StorageError {
  const init = { details: { op, name, class: cls }, hint: HINTS[cls] }
  return new StorageError(`${op} ${name}: ${cls} (${why})`, cause === undefined ? init : { ...init, cause })
}

const HINTS: Readonly<Record<StorageErrorClass, string>> = {
  notFound: 'Check that the name exists.',
  exists: 'Choose another name, or read what is there.',
  precondition: 'Read again and decide again.',
  permission: 'Grant the process access to the path.',
  space: 'Free space on the device, then try again.',
  timeout: 'Try again later.',
  unavailable: 'Try again later.',
  corrupt: 'Run varve doctor: it tells what varve repair can put right from what needs a backup.',
  unsupported: 'Use a root that supports this.',
  io: 'Check the device; reopen the store.',
  unknown: 'Read the name back before writing again.',
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && (error.name === 'AbortError' || error.name === 'TimeoutError')
}
