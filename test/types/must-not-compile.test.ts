// The list of api.md section 10, "Must not compile", held against must-not-compile.test-d.ts, which `npm run types` compiles:
// there every case stands above at least one @ts-expect-error, and an error that does not come is itself an error.

import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const CASES = [
  'a key of an unknown column',
  'a key of a nullable column',
  'a key of a json column',
  'an index of an unknown column',
  'dictionary() of an integer',
  'a wrong default',
  'a null default',
  'Date for us/ns',
  'rows: unknown column',
  'rows: wrong type',
  'rows: missing column',
  'rows: null in a non-nullable column',
  'rows: number for int64',
  'columns(): wrong cells',
  'columns(): missing column',
  'columns(): BigInt64Array for int16',
  'upsert on an unkeyed table',
  'get on an unkeyed table',
  'update on an unkeyed table',
  'delete on an unkeyed table',
  'update without the key',
  'a wrong key',
  'a partial key',
  'a bare composite key',
  'predicates: unknown column',
  'predicates: string against number',
  'predicates: string against number, nested',
  'predicates: null',
  'predicates: json',
  'predicates: gt on bool',
  'predicates: startsWith on a number',
  "predicates: another table's predicate",
  'predicates: a value outside a string union',
  'unknown select',
  'unknown orderBy',
  'sum of a string',
  'a column not selected',
  'a nullable used as its value',
  'an Epoch as a position',
  'any write on a ReadStore',
  "a table outside the feed's list",
  'a staged upsert or delete on an unkeyed table',
  'a stream inside a transaction',
]

it('shows an expected error for every case of the list', () => {
  const source = readFileSync(new URL('must-not-compile.test-d.ts', import.meta.url), 'utf8')
  const sections = source.split('// case: ').slice(1)
  expect(sections.map((section) => section.slice(0, section.indexOf('\n')))).toEqual(CASES)
  for (const section of sections) expect(section).toContain('@ts-expect-error')
})
