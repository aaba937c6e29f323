// table/predicate-text.ts: predicates from text, for the public door: what a definition alone decides, no store is asked.

import { schemaFromDefinition } from './definition.ts'
import { parsePredicate } from './parse-predicate.ts'
import { resolveView } from './resolve-view.ts'
import type { AnyTable, Predicate } from './types.ts'

/**
 * The predicate that a text spells over a table's columns: tests joined by and, or, not and parentheses.
 *
 * @throws InvalidConfigError a text that does not parse; SchemaMismatchError an unknown column or a value that does not fit it; both point at the place
 * @example store.scan(flights, { where: predicateFromText(flights, "delay > 60 and origin in ('SFO', 'LAX')") })
 */
export function predicateFromText<T extends AnyTable>(table: T, text: string): Predicate<T['Filter']> {
  return parsePredicate(text, resolveView(table, schemaFromDefinition(table, 1)))
}
