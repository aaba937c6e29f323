// table/predicate.ts: the constructors of predicates (api.md section 2) and the plain data that they make.
//
// A predicate is a tree of frozen nodes that hold user values as given; what they mean for a column is decided when it is compiled (predicate-eval.ts).
// toJSON sits on the prototype, so that a structured clone is the bare data and JSON.stringify still keeps bigints, dates, bytes and infinities.
// Invariant: no node holds NaN or an invalid Date, and no later change to a value handed in changes the predicate.

import { SchemaMismatchError } from '../errors.ts'
import { fromBase64, toBase64 } from './base64.ts'
import type { Predicate, Sortable, Textual, Val } from './types.ts'

export type CompareOp = 'eq' | 'ne' | 'gt' | 'gte' | 'lt' | 'lte'

/** What a Predicate is at run time. */
export type PredicateNode =
  | { readonly op: CompareOp; readonly column: string; readonly value: unknown }
  | { readonly op: 'between'; readonly column: string; readonly from: unknown; readonly to: unknown }
  | { readonly op: 'oneOf'; readonly column: string; readonly values: readonly unknown[] }
  | { readonly op: 'startsWith'; readonly column: string; readonly prefix: string }
  | { readonly op: 'isNull' | 'isNotNull'; readonly column: string }
  | { readonly op: 'and' | 'or'; readonly of: readonly PredicateNode[] }
  | { readonly op: 'not'; readonly of: PredicateNode }

/** The column equals the value; false for null and NaN, as every comparison. RangeError: a NaN as value. */
export function eq<F, C extends keyof F & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('eq', column, value)
}

/** Exactly not(eq(column, value)): true for nulls. */
export function ne<F, C extends keyof F & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('ne', column, value)
}

/** Greater than; strings by code point, binary by bytes. */
export function gt<F, C extends Sortable<F> & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('gt', column, value)
}

export function gte<F, C extends Sortable<F> & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('gte', column, value)
}

export function lt<F, C extends Sortable<F> & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('lt', column, value)
}

export function lte<F, C extends Sortable<F> & string>(column: C, value: Val<F, C>): Predicate<F> {
  return compare('lte', column, value)
}

/** Both ends inclusive. */
export function between<F, C extends Sortable<F> & string>(column: C, from: Val<F, C>, to: Val<F, C>): Predicate<F> {
  return predicate({ op: 'between', column, from: keep(column, from), to: keep(column, to) })
}

/** Equal to one of the values; of none: never true. */
export function oneOf<F, C extends keyof F & string>(column: C, values: Iterable<Val<F, C>>): Predicate<F> {
  return predicate({ op: 'oneOf', column, values: Object.freeze(Array.from(values, (value) => keep(column, value))) })
}

export function startsWith<F, C extends Textual<F> & string>(column: C, prefix: string): Predicate<F> {
  return predicate({ op: 'startsWith', column, prefix })
}

export function isNull<F, C extends keyof F & string>(column: C): Predicate<F> {
  return predicate({ op: 'isNull', column })
}

export function isNotNull<F, C extends keyof F & string>(column: C): Predicate<F> {
  return predicate({ op: 'isNotNull', column })
}

/** and() of nothing is true. */
export function and<F>(...all: Predicate<F>[]): Predicate<F> {
  return predicate({ op: 'and', of: Object.freeze(all.map(nodeOf)) })
}

/** or() of nothing is false. */
export function or<F>(...any: Predicate<F>[]): Predicate<F> {
  return predicate({ op: 'or', of: Object.freeze(any.map(nodeOf)) })
}

export function not<F>(p: Predicate<F>): Predicate<F> {
  return predicate({ op: 'not', of: nodeOf(p) })
}

/** The tree of a predicate: as made here, structured-cloned, or read back from JSON. SchemaMismatchError: not a predicate. */
export function nodeOf(p: unknown): PredicateNode {
  if (p instanceof Node) return p as unknown as PredicateNode
  return predicateFromJSON(p) as unknown as PredicateNode
}

/** A predicate from what JSON.parse(JSON.stringify(p)) gives, or from a structured clone. SchemaMismatchError: not a predicate. */
export function predicateFromJSON(json: unknown): Predicate<any> {
  const data = (typeof json === 'object' && json !== null ? json : {}) as Record<string, unknown>
  switch (data['op']) {
    case 'eq':
    case 'ne':
    case 'gt':
    case 'gte':
    case 'lt':
    case 'lte':
      if (!('value' in data)) break
      return compare(data['op'], columnOf(data), decodeValue(data['value']))
    case 'between': {
      if (!('from' in data) || !('to' in data)) break
      const column = columnOf(data)
      return predicate({ op: 'between', column, from: keep(column, decodeValue(data['from'])), to: keep(column, decodeValue(data['to'])) })
    }
    case 'oneOf': {
      if (!Array.isArray(data['values'])) break
      const column = columnOf(data)
      return predicate({ op: 'oneOf', column, values: Object.freeze(data['values'].map((value) => keep(column, decodeValue(value)))) })
    }
    case 'startsWith':
      return predicate({ op: 'startsWith', column: columnOf(data), prefix: data['prefix'] as string })
    case 'isNull':
    case 'isNotNull':
      return predicate({ op: data['op'], column: columnOf(data) })
    case 'and':
    case 'or':
      if (!Array.isArray(data['of'])) break
      return predicate({ op: data['op'], of: Object.freeze(data['of'].map(nodeOf)) })
    case 'not':
      return predicate({ op: 'not', of: nodeOf(data['of']) })
    default:
  }
  throw notAPredicate(json)
}

class Node {
  constructor(node: PredicateNode) {
    Object.assign(this, node)
    Object.freeze(this)
  }
  toJSON(): Record<string, unknown> {
    const json: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(this)) json[name] = Array.isArray(value) ? value.map(encodeValue) : encodeValue(value)
    return json
  }
}

function predicate<F>(node: PredicateNode): Predicate<F> {
  return new Node(node) as unknown as Predicate<F>
}

function compare<F>(op: CompareOp, column: string, value: unknown): Predicate<F> {
  return predicate({ op, column, value: keep(column, value) })
}

/** The value, copied where it could be changed from outside. */
function keep(column: string, value: unknown): unknown {
  if (typeof value === 'number' && Number.isNaN(value)) throw new RangeError(`${column}: NaN compares with nothing`)
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new RangeError(`${column}: invalid Date`)
    return new Date(value)
  }
  return value instanceof Uint8Array ? Uint8Array.from(value) : value
}

function columnOf(data: Record<string, unknown>): string {
  if (typeof data['column'] !== 'string') throw notAPredicate(data)
  return data['column']
}

function notAPredicate(value: unknown): SchemaMismatchError {
  const op = typeof value === 'object' && value !== null && 'op' in value ? ` with op ${JSON.stringify(value.op)}` : ''
  return new SchemaMismatchError(`expected a predicate, got ${value === null ? 'null' : typeof value}${op}`, {
    details: { table: '' },
    hint: 'Make predicates with eq, gt, and, or and their kin.',
  })
}

function encodeValue(value: unknown): unknown {
  if (value instanceof Node) return value.toJSON()
  if (typeof value === 'bigint') return { $bigint: value.toString() }
  if (typeof value === 'number' && !Number.isFinite(value)) return { $number: String(value) }
  if (value instanceof Date) return { $date: value.getTime() }
  if (value instanceof Uint8Array) return { $base64: toBase64(value) }
  return value
}

function decodeValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if ('$bigint' in value) return BigInt(value.$bigint as string)
  if ('$number' in value) return Number(value.$number)
  if ('$date' in value) return new Date(value.$date as number)
  if ('$base64' in value) return fromBase64(value.$base64 as string)
  return value
}
