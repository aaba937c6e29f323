// store/known-options.ts: the names of options that calls of a store take. A name that nobody knows is a mistake of the caller, never skipped.

import { InvalidConfigError } from '../errors.ts'
import { fromHex } from '../format/index.ts'
import { EPOCH_MAX } from '../options.ts'

/** @throws InvalidConfigError: no object, or an option that `call` does not take */
export function checkKnown<T extends object>(call: string, o: T, known: readonly string[]): T {
  if (typeof o !== 'object' || o === null) throw new InvalidConfigError(`${call}: options are no object`, { details: { key: 'options', value: o } })
  for (const [key, value] of Object.entries(o)) {
    if (!known.includes(key)) {
      throw new InvalidConfigError(`${call} takes no option ${key}`, { details: { key, value }, hint: `It takes ${known.join(', ')}.` })
    }
  }
  return o
}

/** The id of a store as callers write it. @throws InvalidConfigError */
export function storeIdOption(storeId: string | undefined): Uint8Array | undefined {
  if (storeId === undefined) return undefined
  if (!/^[0-9a-f]{32}$/.test(storeId)) throw new InvalidConfigError('storeId is 32 lower-case hex digits', { details: { key: 'storeId', value: storeId } })
  return fromHex(storeId)
}

/** An epoch as callers claim it. @throws InvalidConfigError */
export function checkEpoch(call: string, epoch: number): void {
  if (Number.isSafeInteger(epoch) && epoch >= 1 && epoch <= EPOCH_MAX) return
  throw new InvalidConfigError(`${call}: epoch is a whole number from 1 to ${EPOCH_MAX}`, { details: { key: 'epoch', value: epoch } })
}
