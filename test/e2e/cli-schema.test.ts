// `varve schema` as a process: definitions out to a file and back, and changes of them.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, it } from 'vitest'

import { cli, ok, tempFolder } from './cli-run.ts'

const TABLES = [
  {
    name: 'all',
    columns: {
      id: 'int64',
      big: { type: 'int64', default: '9007199254740993' },
      bytes: { type: 'binary', default: 'AP8=' },
      day: { type: 'date', default: '2026-11-21' },
      at: { type: 'timestamp[ms]', default: '2026-11-21T10:00:00.000Z' },
      micros: { type: 'timestamp[us, UTC] or null', default: '2026-11-21T10:00:00.000001Z' },
      money: { type: 'decimal128(10, 2)', default: '12.30' },
      words: { type: 'dictionary<utf8>', default: 'x' },
      on: { type: 'bool', default: false },
      half: { type: 'float64', default: 0.5 },
      tags: 'list<utf8 or null> or null',
    },
    key: ['id'],
    unique: [['big', 'day']],
    index: ['day', ['words', 'at']],
  },
  { name: 'plain', columns: { n: 'int16' }, key: [] },
]

it('a file that schema show --json writes is what the store has: diff ends with 0, apply changes nothing', async () => {
  const folder = await tempFolder()
  const [store, file] = [join(folder, 'store'), join(folder, 'tables.json')]
  await writeFile(file, JSON.stringify(TABLES))
  await ok(['init', store, '--table', file])
  const shown = await ok(['schema', 'show', store, '--json'])
  expect((await ok(['schema', store, '--json'])).stdout).toBe(shown.stdout)
  await writeFile(file, shown.stdout)
  expect(shown.json().map((each: { name: string }) => each.name)).toEqual(['all', 'plain'])
  expect(shown.json()[0]).toMatchObject({ unique: [['big', 'day']], index: ['day', ['words', 'at']] })
  expect((await ok(['schema', store, 'all'])).stdout).toMatch(/^all {2}key id\n {2}unique big, day\n {2}index day\n {2}index words, at\ncolumn/)
  expect((await ok(['schema', 'diff', store, file])).stdout).toBe('the store has these definitions\n')
  expect((await ok(['schema', 'apply', store, file, '--json'])).json()).toEqual({ steps: [] })
})

it('diff lists the steps and ends with 3, apply makes them, from JSON and from a module', async () => {
  const folder = await tempFolder()
  const [store, file, code] = [join(folder, 'store'), join(folder, 'tables.json'), join(folder, 'tables.ts')]
  await writeFile(file, JSON.stringify(TABLES))
  await ok(['init', store, '--table', file])
  await ok(['import', store, 'plain', '-', '--format', 'ndjson'], '{"n":1}\n{"n":2}\n')
  await writeFile(file, JSON.stringify({ name: 'numbers', columns: { m: { type: 'int32', renamedFrom: 'n' }, more: 'utf8 or null' }, renamedFrom: 'plain' }))
  const diff = await cli(['schema', 'diff', store, file])
  expect([diff.code, diff.stdout]).toEqual([
    3,
    expect.stringMatching(/renameTable +numbers[\s\S]*renameColumn +numbers +m[\s\S]*widen[\s\S]*addColumn +numbers +more/),
  ])
  const dry = await ok(['schema', 'apply', store, file, '--dry-run'])
  expect(dry.stdout).toContain('nothing was changed')
  const applied = (await ok(['schema', 'apply', store, file, '--json'])).json()
  expect(applied.steps.map((each: { kind: string }) => each.kind)).toEqual(['renameTable', 'renameColumn', 'widen', 'addColumn'])
  expect((await ok(['scan', store, 'numbers', '--json'])).lines()).toEqual([
    { m: 1, more: null },
    { m: 2, more: null },
  ])
  const varve = JSON.stringify(new URL('../../bindings/index.ts', import.meta.url).href)
  await writeFile(
    code,
    `import { t, table } from ${varve}\nexport const numbers = table('numbers', { m: t.int32() })\nexport const other = 1\nexport default [numbers, table('fresh', { a: t.bool() })]\n`,
  )
  const refused = await cli(['schema', 'apply', store, code])
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[schema.data-loss]')])
  expect((await ok(['schema', 'apply', store, code, '--allow-data-loss', '--drop', 'all'])).stdout).toMatch(
    /dropColumn[\s\S]*loses data[\s\S]*addTable[\s\S]*dropTable +all[\s\S]*done, LSN \d+/,
  )
  expect((await ok(['tables', store, '--json'])).json().map((each: { name: string }) => each.name)).toEqual(['numbers', 'fresh'])
})

it('says what is missing, and what cannot be read', async () => {
  const folder = await tempFolder()
  const store = join(folder, 'store')
  await ok(['init', store])
  await writeFile(join(folder, 'none.mjs'), 'export const n = 1\n')
  expect(await cli(['schema', 'diff', store])).toMatchObject({ code: 2, stderr: expect.stringContaining('needs a store and a file') })
  expect(await cli(['schema', 'apply', store, join(folder, 'none.mjs')])).toMatchObject({ code: 2, stderr: expect.stringContaining('exports no table') })
  expect(await cli(['schema', 'apply', store, join(folder, 'absent.json')])).toMatchObject({ code: 2 })
  expect(await cli(['schema', 'merge', store, 'x'])).toMatchObject({ code: 2, stderr: expect.stringContaining('show, diff, apply') })
})
