// store/write-options.ts: the options of single writes, checked before anything is done: notes, idempotency keys, retries, what stage() takes.

import { InvalidConfigError, ResourceLimitError } from '../errors.ts'
import type { AdmitOptions } from '../engine/index.ts'
import type { StageOptions, TransactOptions, WriteOptions } from '../table/index.ts'
import { checkKnown } from './known-options.ts'

const NOTES_BYTES_MAX = 4096
const IDEMPOTENCY_KEY_BYTES_MAX = 128
const RETRIES = 5
const STAGE_OPTIONS = ['message', 'author', 'idempotencyKey', 'writeId', 'holdUntil', 'signal', 'onProgress']

/** @throws InvalidConfigError for what is no text, signal or function; ResourceLimitError */
export function checkNotes(o: WriteOptions): void {
  if (typeof o !== 'object' || o === null) throw wrong('options', o, 'an object')
  const { message, author, idempotencyKey, signal, onProgress } = o
  if (message !== undefined && typeof message !== 'string') throw wrong('message', message, 'a string')
  if (author !== undefined && typeof author !== 'string') throw wrong('author', author, 'a string')
  if (idempotencyKey !== undefined && typeof idempotencyKey !== 'string') throw wrong('idempotencyKey', idempotencyKey, 'a string')
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong('signal', signal, 'an AbortSignal')
  if (onProgress !== undefined && typeof onProgress !== 'function') throw wrong('onProgress', onProgress, 'a function')
  const notes = utf8Bytes(o.message) + utf8Bytes(o.author)
  if (notes > NOTES_BYTES_MAX)
    throw new ResourceLimitError(`message and author of ${notes} bytes; at most ${NOTES_BYTES_MAX}`, { details: { limit: 'message', asked: notes } })
  const keyBytes = utf8Bytes(o.idempotencyKey)
  if (keyBytes > IDEMPOTENCY_KEY_BYTES_MAX) {
    throw new ResourceLimitError(`an idempotency key of ${keyBytes} bytes; at most ${IDEMPOTENCY_KEY_BYTES_MAX}`, {
      details: { limit: 'idempotencyKey', asked: keyBytes },
    })
  }
}

function wrong(key: string, value: unknown, wanted: string): InvalidConfigError {
  return new InvalidConfigError(`${key} is not ${wanted}`, { details: { key, value } })
}

/** What stage() was given, as options. @throws InvalidConfigError */
export function stageOptionsOf(given: string | StageOptions = {}): StageOptions {
  if (typeof given === 'string') return { message: given }
  if (typeof given !== 'object' || given === null) throw wrong('stage', given, 'a message or an object of options')
  checkKnown('stage', given, STAGE_OPTIONS)
  const { holdUntil } = given
  if (holdUntil !== undefined && (!(holdUntil instanceof Date) || Number.isNaN(holdUntil.getTime()))) {
    throw new InvalidConfigError('holdUntil is no Date', { details: { key: 'holdUntil', value: holdUntil } })
  }
  return given
}

/** @throws InvalidConfigError */
export function retriesOf({ retries, isolation }: TransactOptions): number {
  if (isolation !== undefined && isolation !== 'serializable' && isolation !== 'snapshot') {
    throw new InvalidConfigError(`no isolation ${JSON.stringify(isolation)}`, { details: { key: 'isolation', value: isolation } })
  }
  if (retries === undefined) return RETRIES
  if (!Number.isSafeInteger(retries) || retries < 0) {
    throw new InvalidConfigError(`retries must be a whole number from 0, got ${String(retries)}`, { details: { key: 'retries', value: retries } })
  }
  return retries
}

/** The options of a write that is tried again. */
export function withAgain(o: WriteOptions | undefined, again: AdmitOptions | undefined): (WriteOptions & AdmitOptions) | undefined {
  return again === undefined ? o : { ...o, ...again }
}

const encoder = new TextEncoder()

function utf8Bytes(text: string | undefined): number {
  return text === undefined ? 0 : encoder.encode(text).length
}
