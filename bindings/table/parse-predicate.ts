// table/parse-predicate.ts: predicates as text, for command lines: `delay > 60 and origin in ('SFO', 'LAX') or date >= '2001-01-01'`.
//
//   or      = and { "or" and }                     and = unary { "and" unary }           unary = "not" unary | "(" or ")" | test
//   test    = column [ operator value | "between" value "and" value | ["not"] "in" "(" [ value { "," value } ] ")"
//                    | "is" ["not"] "null" | ["not"] "starts" "with" value ]             a column alone must be bool
//   column  = name of letters, digits, "_", "." | "any name", "" for a quote       operator = = == != <> < <= > >=
//   value   = number | 'text', '' for a quote | x'00ff' | true | false
//
// Words are read in any case. Values are read by the column's type: 'text' is also a date, a time, a timestamp (UTC unless it says otherwise), a uuid.

import { InvalidConfigError, SchemaMismatchError } from '../errors.ts'
import type { ColumnType, TimeUnit } from '../format/index.ts'
import { didYouMean } from './names.ts'
import { describeType } from './physical.ts'
import { leafOf } from './predicate-leaf.ts'
import { nodeOf, predicateFromJSON } from './predicate.ts'
import type { CompareOp, PredicateNode } from './predicate.ts'
import { parseDate } from './text-forms.ts'
import type { Predicate } from './types.ts'
import type { TableView, ViewColumn } from './view.ts'

interface Token {
  readonly kind: 'word' | 'quoted' | 'number' | 'text' | 'bytes' | 'sign' | 'end'
  /** Unescaped. */
  readonly text: string
  /** Offset in the source. */
  readonly at: number
}

const TOKEN =
  /\s*(?:(?<bytes>[xX]'(?:[0-9a-fA-F]{2})*')|(?<text>'(?:[^']|'')*')|(?<quoted>"(?:[^"]|"")*")|(?<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<word>[\p{L}_][\p{L}\p{N}_.]*)|(?<sign><=|>=|<>|!=|==|[=<>(),]))/uy
const SIGNS: Readonly<Record<string, CompareOp>> = { '=': 'eq', '==': 'eq', '!=': 'ne', '<>': 'ne', '<': 'lt', '<=': 'lte', '>': 'gt', '>=': 'gte' }
const TIMESTAMP = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i
const TIME = /^(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?$/
const NS_PER_UNIT: Readonly<Record<TimeUnit, bigint>> = { s: 1_000_000_000n, ms: 1_000_000n, us: 1_000n, ns: 1n }
const NS_PER_DAY = 86_400_000_000_000n
const NS_PER_MINUTE = 60_000_000_000n
const DEPTH_MAX = 200

/**
 * The predicate that a text spells, checked against the view.
 *
 * @throws InvalidConfigError a text that does not parse; SchemaMismatchError an unknown column or a value that does not fit it; both point at the place
 */
export function parsePredicate(text: string, view: TableView): Predicate<any> {
  return new Parser(text, view).whole()
}

class Parser {
  readonly #source: string
  readonly #view: TableView
  readonly #tokens: readonly Token[]
  #next = 0
  #depth = 0

  constructor(source: string, view: TableView) {
    this.#source = source
    this.#view = view
    this.#tokens = this.#scan()
  }

  whole(): Predicate<any> {
    const node = this.#or()
    const rest = this.#peek()
    if (rest.kind !== 'end') throw this.#wrong(rest, 'expected "and", "or" or the end')
    return predicateFromJSON(node)
  }

  #scan(): Token[] {
    const tokens: Token[] = []
    TOKEN.lastIndex = 0
    while (TOKEN.lastIndex < this.#source.length) {
      const start = TOKEN.lastIndex
      const match = TOKEN.exec(this.#source)
      if (match === null) {
        const at = start + (/^\s*/.exec(this.#source.slice(start))?.[0].length ?? 0)
        if (at === this.#source.length) break
        const open = this.#source[at] === "'" || this.#source[at] === '"'
        throw this.#fault(at, open ? 'the quote is not closed' : `unexpected ${JSON.stringify(this.#source[at])}`)
      }
      tokens.push(tokenOf(match))
    }
    tokens.push({ kind: 'end', text: '', at: this.#source.length })
    return tokens
  }

  #or(): PredicateNode {
    const of = [this.#and()]
    while (this.#takeWord('or')) of.push(this.#and())
    return of.length === 1 ? (of[0] as PredicateNode) : { op: 'or', of }
  }

  #and(): PredicateNode {
    const of = [this.#unary()]
    while (this.#takeWord('and')) of.push(this.#unary())
    return of.length === 1 ? (of[0] as PredicateNode) : { op: 'and', of }
  }

  #unary(): PredicateNode {
    const start = this.#peek()
    if (++this.#depth > DEPTH_MAX) throw this.#fault(start.at, `nested more than ${DEPTH_MAX} deep`)
    let node: PredicateNode
    if (this.#takeWord('not')) node = { op: 'not', of: this.#unary() }
    else if (this.#takeSign('(')) {
      node = this.#or()
      this.#expectSign(')')
    } else node = this.#test()
    this.#depth--
    return node
  }

  #test(): PredicateNode {
    const [column, place] = this.#column()
    const token = this.#peek()
    const op = token.kind === 'sign' ? SIGNS[token.text] : undefined
    if (op !== undefined) {
      this.#next++
      return this.#comparison(column, op, this.#peek())
    }
    const isNot = this.#takeWord('not')
    if (this.#takeWord('in')) return negated(isNot, this.#list(column))
    if (this.#takeWord('starts')) {
      if (!this.#takeWord('with')) throw this.#wrong(this.#peek(), 'expected "with" after "starts"')
      const at = this.#peek()
      if (at.kind !== 'text') throw this.#wrong(at, 'expected a text in single quotes')
      this.#next++
      return negated(isNot, this.#checked(column, at, { op: 'startsWith', column: column.name, prefix: at.text }))
    }
    if (isNot) throw this.#wrong(this.#peek(), 'expected "in" or "starts with" after "not"')
    if (this.#takeWord('is')) {
      const op = this.#takeWord('not') ? 'isNotNull' : 'isNull'
      if (!this.#takeWord('null')) throw this.#wrong(this.#peek(), 'expected "null" or "not null" after "is"')
      return { op, column: column.name }
    }
    if (this.#takeWord('between')) {
      const start = this.#peek()
      const from = this.#value(column)
      if (!this.#takeWord('and')) throw this.#wrong(this.#peek(), 'expected "and" and the upper end')
      return this.#checked(column, start, { op: 'between', column: column.name, from, to: this.#value(column) })
    }
    if (column.column.type.kind === 'bool') return { op: 'eq', column: column.name, value: true }
    throw this.#wrong(token, `expected an operator after ${JSON.stringify(this.#source.slice(place.at, token.at).trim())}`)
  }

  #column(): readonly [ViewColumn, Token] {
    const token = this.#peek()
    if (token.kind !== 'word' && token.kind !== 'quoted') throw this.#wrong(token, 'expected a column')
    this.#next++
    const column = this.#view.byName.get(token.text)
    if (column !== undefined) return [column, token]
    const what = `${this.#view.table.name} has no column ${JSON.stringify(token.text)}${didYouMean(token.text, this.#view.byName.keys())}`
    throw this.#mismatch(token.at, what, token.text)
  }

  #comparison(column: ViewColumn, op: CompareOp, at: Token): PredicateNode {
    const value = this.#value(column)
    const node = { op: op === 'ne' ? 'eq' : op, column: column.name, value } as const
    this.#checked(column, at, node)
    return { ...node, op }
  }

  #list(column: ViewColumn): PredicateNode {
    const at = this.#peek()
    this.#expectSign('(')
    const values: unknown[] = []
    while (!this.#takeSign(')')) {
      if (values.length > 0) this.#expectSign(',')
      values.push(this.#value(column))
    }
    return this.#checked(column, at, { op: 'oneOf', column: column.name, values })
  }

  /** The node, once its column takes it. */
  #checked(column: ViewColumn, at: Token, node: Parameters<typeof leafOf>[2]): PredicateNode {
    try {
      leafOf(this.#view.table.name, column, nodeOf(node) as typeof node)
    } catch (cause) {
      if (cause instanceof SchemaMismatchError) throw this.#mismatch(at.at, cause.message, column.name, cause)
      throw cause
    }
    return node
  }

  #value(column: ViewColumn): unknown {
    const token = this.#peek()
    const { type } = column.column
    this.#next++
    switch (token.kind) {
      case 'number':
        return numberValue(type, token.text)
      case 'bytes':
        return Uint8Array.from({ length: token.text.length / 2 }, (_, i) => Number.parseInt(token.text.slice(2 * i, 2 * i + 2), 16))
      case 'text': {
        const value = textValue(type, token.text)
        if (value === undefined) throw this.#mismatch(token.at, `${JSON.stringify(token.text)} is no ${describeType(type)}`, column.name)
        return value
      }
      case 'word': {
        const word = token.text.toLowerCase()
        if (word === 'true' || word === 'false') return word === 'true'
        if (word === 'null') throw this.#fault(token.at, `null compares with nothing; write "${column.name} is null"`)
        break
      }
      default:
    }
    const quoted = token.kind === 'word' || token.kind === 'quoted' ? '; texts go in single quotes' : ''
    throw this.#wrong(token, `expected a value${quoted}`)
  }

  #peek(): Token {
    return this.#tokens[this.#next] as Token
  }

  #takeWord(word: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'word' || token.text.toLowerCase() !== word) return false
    this.#next++
    return true
  }

  #takeSign(sign: string): boolean {
    const token = this.#peek()
    if (token.kind !== 'sign' || token.text !== sign) return false
    this.#next++
    return true
  }

  #expectSign(sign: string): void {
    if (!this.#takeSign(sign)) throw this.#wrong(this.#peek(), `expected ${JSON.stringify(sign)}`)
  }

  #wrong(token: Token, expected: string): InvalidConfigError {
    const got = token.kind === 'end' ? 'the end' : JSON.stringify(token.text)
    return this.#fault(token.at, `${expected}, got ${got}`)
  }

  #fault(at: number, what: string): InvalidConfigError {
    return new InvalidConfigError(`predicate, character ${at + 1}: ${what}${this.#pointer(at)}`, {
      details: { key: 'where', value: this.#source },
      hint: "Write tests such as: delay > 60 and origin in ('SFO', 'LAX').",
    })
  }

  #mismatch(at: number, what: string, column: string, cause?: unknown): SchemaMismatchError {
    return new SchemaMismatchError(`predicate, character ${at + 1}: ${what}${this.#pointer(at)}`, { details: { table: this.#view.table.name, column }, cause })
  }

  #pointer(at: number): string {
    return `\n  ${this.#source.replaceAll(/\s/g, ' ')}\n  ${' '.repeat(at)}^`
  }
}

function tokenOf(match: RegExpExecArray): Token {
  for (const [kind, found] of Object.entries(match.groups ?? {})) {
    if (found === undefined) continue
    const at = match.index + match[0].length - found.length
    const quote = kind === 'text' ? "'" : kind === 'quoted' ? '"' : undefined
    const text = kind === 'bytes' ? found.slice(2, -1) : quote === undefined ? found : found.slice(1, -1).replaceAll(quote + quote, quote)
    return { kind: kind as Token['kind'], text, at }
  }
  return { kind: 'end', text: '', at: match.index }
}

function negated(isNot: boolean, node: PredicateNode): PredicateNode {
  return isNot ? { op: 'not', of: node } : node
}

/** A number literal as the column's type has it; exact for 64 bits and decimals. */
function numberValue(type: ColumnType, literal: string): unknown {
  const isWhole = /^[+-]?\d+$/.test(literal)
  switch (type.kind) {
    case 'decimal':
      return literal
    case 'int':
      return type.bits === 64 && isWhole ? BigInt(literal.replace('+', '')) : Number(literal)
    case 'timestamp':
    case 'time':
      return isWhole ? BigInt(literal.replace('+', '')) : Number(literal)
    default:
      return Number(literal)
  }
}

/** A text as the column's type has it; undefined: it spells no such value. */
function textValue(type: ColumnType, text: string): unknown {
  switch (type.kind) {
    case 'timestamp': {
      const ns = parseTimestamp(text)
      return ns === undefined ? undefined : inUnit(ns, type.unit)
    }
    case 'time': {
      const ns = parseTime(text)
      return ns === undefined ? undefined : inUnit(ns, type.unit)
    }
    case 'date':
      return parseDate(text) === undefined ? undefined : text
    default:
      return text
  }
}

function inUnit(ns: bigint, unit: TimeUnit): bigint | undefined {
  return ns % NS_PER_UNIT[unit] === 0n ? ns / NS_PER_UNIT[unit] : undefined
}

/** Nanoseconds since 1970 of "2001-02-03", "2001-02-03 04:05", "2001-02-03T04:05:06.789+01:00". */
function parseTimestamp(text: string): bigint | undefined {
  const match = TIMESTAMP.exec(text)
  const days = match === null ? undefined : parseDate(match[1] as string)
  const time = parseTime(match?.[2] ?? '00:00')
  if (days === undefined || time === undefined) return undefined
  return BigInt(days) * NS_PER_DAY + time - zoneMinutes(match?.[3]) * NS_PER_MINUTE
}

function zoneMinutes(zone: string | undefined): bigint {
  if (zone === undefined || zone.toUpperCase() === 'Z') return 0n
  const digits = zone.slice(1).replace(':', '')
  const minutes = BigInt(digits.slice(0, 2)) * 60n + BigInt(digits.slice(2))
  return zone.startsWith('-') ? -minutes : minutes
}

/** Nanoseconds since midnight of "04:05", "04:05:06", "04:05:06.789". */
function parseTime(text: string): bigint | undefined {
  const match = TIME.exec(text)
  if (match === null) return undefined
  const [hours, minutes, seconds] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)]
  if (hours > 23 || minutes > 59 || seconds > 59) return undefined
  return BigInt(hours * 3600 + minutes * 60 + seconds) * NS_PER_UNIT.s + BigInt((match[4] ?? '').padEnd(9, '0'))
}
