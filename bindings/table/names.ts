// table/names.ts: which names tables, columns, branches and tags may have (api.md section 1, recovery.md section 13), and the nearest known name for a mistyped one.

import { InvalidNameError } from '../errors.ts'

const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,127}$/
const BRANCH_NAME = /^[a-z0-9][a-z0-9._/-]{0,127}$/
const CONTROL = /\p{Cc}/u
const COLUMN_NAME_BYTES_MAX = 255
const encoder = new TextEncoder()

/** @throws InvalidNameError unless `name` is `[A-Za-z_][A-Za-z0-9_.-]{0,127}` */
export function checkTableName(name: unknown): asserts name is string {
  if (typeof name === 'string' && TABLE_NAME.test(name)) return
  throw new InvalidNameError(`table name ${show(name)}: expected a letter or "_", then up to 127 letters, digits, "_", "." or "-"`, {
    details: { name: String(name) },
  })
}

/** Of branches and tags. @throws InvalidNameError unless `name` is `[a-z0-9][a-z0-9._/-]{0,127}`, without `//`, a trailing `/` or `.lock`, and not reserved */
export function checkBranchName(name: unknown): asserts name is string {
  const problem =
    typeof name !== 'string' || !BRANCH_NAME.test(name)
      ? 'expected a letter or digit, then up to 127 of "a" to "z", digits, ".", "_", "/" or "-"'
      : branchNameProblem(name)
  if (problem !== undefined) throw new InvalidNameError(`name of a branch or tag ${show(name)}: ${problem}`, { details: { name: String(name) } })
}

function branchNameProblem(name: string): string | undefined {
  if (name === 'main' || name.startsWith('varve/')) return 'it is reserved'
  if (name.includes('//')) return 'it holds "//"'
  return name.endsWith('/') || name.endsWith('.lock') ? 'it ends in "/" or ".lock"' : undefined
}

/** @throws InvalidNameError unless `name` is 1..255 bytes of UTF-8 without control characters that does not end in " asc" or " desc" */
export function checkColumnName(table: string, name: string): void {
  const reason = columnNameProblem(name)
  if (reason !== undefined) throw new InvalidNameError(`${table}: column name ${show(name)} ${reason}`, { details: { name } })
}

function columnNameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty'
  if (!name.isWellFormed()) return 'is not well-formed Unicode'
  if (encoder.encode(name).byteLength > COLUMN_NAME_BYTES_MAX) return `is longer than ${COLUMN_NAME_BYTES_MAX} bytes`
  if (CONTROL.test(name)) return 'holds a control character'
  // orderBy reads these endings as directions.
  if (name.endsWith(' asc') || name.endsWith(' desc')) return 'ends in " asc" or " desc"'
  // A row is a plain object: assigning this property would set its prototype and lose the value.
  if (name === '__proto__') return 'cannot be a property of a row'
  return undefined
}

/** `; did you mean "delay"?` for the known name nearest to `name`, or the empty string when none is near. */
export function didYouMean(name: string, known: Iterable<string>): string {
  let best: string | undefined
  let bestDistance = Math.min(3, Math.ceil(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best === undefined ? '' : `; did you mean ${JSON.stringify(best)}?`
}

/** Optimal string alignment distance (insert, delete, replace, swap of neighbours); any number >= `limit` once it cannot be smaller. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let cell = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replace)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cell = Math.min(cell, (before[j - 2] ?? 0) + 1)
      row.push(cell)
    }
    before = previous
    previous = row
  }
  return previous[b.length] ?? limit
}

function show(name: unknown): string {
  return typeof name === 'string' ? JSON.stringify(name) : typeof name
}
