// store/known-options.ts: the names of options that calls of a store take. A name that nobody knows is a mistake of the caller, never skipped.

import { InvalidConfigError } from '../errors.ts'

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
