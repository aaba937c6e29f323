// e2e/cli-optimize.test.ts: varve optimize as a process of its own.
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder } from './cli-run.ts'

const rows = table('rows', { id: t.int64(), text: t.utf8() }, { key: ['id'] })
const lines = table('lines', { n: t.int32() })

it('varve optimize says what became of each table, and that nothing is left to do', async () => {
  const path = join(await tempFolder(), 'store')
  const store = await Store.open(path, { inlineLimitBytes: 0, upkeep: 'manual', threads: 0 })
  await store.create(rows, lines)
  for (let i = 0; i < 3; i++) {
    await store.append(rows, { id: BigInt(i), text: `row ${i}` })
    await store.append(lines, { n: i })
  }
  const { lsn } = store
  await store.close()
  const first = (await ok(['optimize', path, '--table', 'rows', '--json'])).json()
  expect(first).toMatchObject({ tables: { rows: { fragmentsBefore: 3, fragmentsAfter: 1, coverageBefore: 1, coverageAfter: 1 } }, skipped: [] })
  expect(Object.keys(first['tables'] as object)).toEqual(['rows'])
  expect(BigInt(first['lsn'] as string)).toBeGreaterThan(lsn)
  const { stdout } = await ok(['optimize', path])
  expect(stdout).toMatch(/^published as LSN \d+/)
  expect(stdout).toMatch(/lines +3 +1 +100 % +100 %/)
  expect((await ok(['optimize', path])).stdout).toMatch(/^nothing to do/)
  expect((await ok(['scan', path, 'lines', '--json'])).stdout).toMatch(/0[^]*1[^]*2/)
  expect((await cli(['optimize', path, '--table', 'none'])).code).toBe(1)
  expect((await cli(['optimize', path, '--target-rows', 'x'])).code).toBe(2)
})
