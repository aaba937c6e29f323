// root/names.ts: what an object may be called and in which order names come (roots.md section 2). Pure.
//
// Invariant: a name that passes here is the same string on every kind of root: relative, `/`-separated, NFC, at most 512 bytes of UTF-8,
// without empty, `.` or `..` parts, NUL or backslash. Order is the byte order of UTF-8.
import { InvalidNameError } from '../errors.ts'

export const NAME_BYTES_MAX = 512
const TEMP_SUFFIX = '.tmp'
const ASCII = /^[\x20-\x7e]*$/
/** What nearly all names are made of. */
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/
const SURROGATE = /[\ud800-\udfff]/
const encoder = new TextEncoder()

/** Returns the name. @throws InvalidNameError */
export function checkName(name: string): string {
  const problem = nameProblem(name)
  if (problem !== undefined) throw new InvalidNameError(`object name ${JSON.stringify(name)}: ${problem}`, { details: { name } })
  return name
}

/** A prefix is a name or empty (everything). With a `/` at its end it means only what is below; without, also the object of that very name. */
export interface Prefix {
  /** Without the slash; empty for everything. */
  readonly path: string
  readonly childrenOnly: boolean
}

/** @throws InvalidNameError */
export function checkPrefix(prefix: string): Prefix {
  if (prefix === '') return { path: '', childrenOnly: true }
  const childrenOnly = prefix.endsWith('/')
  return { path: checkName(childrenOnly ? prefix.slice(0, -1) : prefix), childrenOnly }
}

/** Whether `name` is in the prefix; `a/bc` is not in `a/b`. */
export function inPrefix(name: string, prefix: Prefix): boolean {
  if (prefix.path === '') return true
  if (!name.startsWith(prefix.path)) return false
  return name.length === prefix.path.length ? !prefix.childrenOnly : name[prefix.path.length] === '/'
}

/** Temporary objects are not listed. */
export function isTemp(name: string): boolean {
  return name.endsWith(TEMP_SUFFIX)
}

/** Folder part of a name; empty at the top. */
export function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')))
}

/** Byte order of UTF-8: that of code points, which JavaScript's own order is not where surrogates meet U+E000..U+FFFF. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return x >= 0xd800 && y >= 0xd800 ? rank(x) - rank(y) : x - y
  }
  return a.length - b.length
}

/** In their order. */
export function sortNames(names: string[]): string[] {
  // Without surrogates the order of JavaScript is that of code points.
  return names.some((name) => SURROGATE.test(name)) ? names.sort(compareNames) : names.sort()
}

/** Where in `names`, sorted, the first one at or behind `from` stands. */
export function firstFrom(names: readonly string[], from: string): number {
  let low = 0
  for (let high = names.length; low < high;) {
    const middle = (low + high) >>> 1
    if (compareNames(names[middle]!, from) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Surrogates rank above the rest of the basic plane. */
function rank(unit: number): number {
  return unit >= 0xe000 ? unit - 0x2000 : unit + 0x2000
}

function nameProblem(name: string): string | undefined {
  if (typeof name !== 'string' || name === '') return 'is empty'
  if (name.length <= NAME_BYTES_MAX && PLAIN.test(name)) return undefined
  if (name.startsWith('/')) return 'is absolute'
  if (name.includes('\0')) return 'holds a NUL'
  if (name.includes('\\')) return 'holds a backslash'
  if (!ASCII.test(name)) {
    if (!name.isWellFormed()) return 'holds half of a surrogate pair'
    if (name.normalize('NFC') !== name) return 'is not in normalization form C'
    if (encoder.encode(name).length > NAME_BYTES_MAX) return `is longer than ${NAME_BYTES_MAX} bytes`
  } else if (name.length > NAME_BYTES_MAX) return `is longer than ${NAME_BYTES_MAX} bytes`
  for (const part of name.split('/')) {
    if (part === '') return 'has an empty part'
    if (part === '.' || part === '..') return `has a part ${JSON.stringify(part)}`
  }
  return undefined
}
