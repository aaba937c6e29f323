// e2e/cli-merge.test.ts: diff and merge as processes of their own.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder } from './cli-run.ts'

const prices = table('prices', { id: t.int64(), price: t.float64(), note: t.utf8().nullable() }, { key: ['id'] })
const log = table('log', { what: t.utf8() })

/** Main and dev have each changed a row of their own, and one row that both changed. */
async function store(): Promise<string> {
  const path = join(await tempFolder(), 'store')
  await using opened = await Store.open(path)
  await opened.create(prices, log)
  await opened.append(
    prices,
    [1n, 2n, 3n].map((id) => ({ id, price: 1.5 })),
  )
  await opened.tag('v1')
  const dev = await opened.branch('dev')
  await dev.upsert(prices, [
    { id: 1n, price: 2.5 },
    { id: 3n, price: 9, note: 'dev' },
    { id: 4n, price: 4 },
  ])
  await opened.upsert(prices, { id: 3n, price: 8, note: 'main' })
  await opened.delete(prices, 2n)
  return path
}

describe('varve diff', () => {
  it('prints a line a change, between tags, branches and positions', async () => {
    const path = await store()
    expect((await ok(['diff', path, 'v1', 'main'])).stdout.split('\n').sort()).toEqual([
      '',
      '- prices id=2 price=1.5 note=null',
      '~ prices id=3 price=1.5 -> 8 note=null -> main',
    ])
    expect((await ok(['diff', path, 'v1', 'dev', '--table', 'prices'])).stdout.split('\n').sort()).toEqual([
      '',
      '+ prices id=4 price=4 note=null',
      '~ prices id=1 price=1.5 -> 2.5',
      '~ prices id=3 price=1.5 -> 9 note=null -> dev',
    ])
    expect((await ok(['diff', path, 'main', 'main'])).stdout).toBe('no rows differ\n')
    const changes = (await ok(['diff', path, 'main', 'v1', '--json'])).lines()
    expect(changes).toContainEqual({ table: 'prices', kind: 'insert', after: { id: '2', price: 1.5, note: null } })
    expect((await ok(['diff', path, 'v1', 'dev', '--limit', '1', '--json'])).lines()).toHaveLength(1)
  })

  it('says what is no position, no table, and no table with a key', async () => {
    const path = await store()
    expect(await cli(['diff', path, 'v1', 'nothing'])).toMatchObject({ code: 1, stderr: expect.stringContaining('branch.not-found') as string })
    expect(await cli(['diff', path, 'v1', 'main', '--table', 'none'])).toMatchObject({ code: 2 })
    expect(await cli(['diff', path, 'v1', 'main', '--table', 'log'])).toMatchObject({ code: 2, stderr: expect.stringContaining('no key') as string })
  })
})

describe('varve merge', () => {
  it('shows the rows in conflict and writes nothing, until it is said what shall be', async () => {
    const path = await store()
    const refused = await cli(['merge', path, 'dev'])
    expect(refused.code).toBe(1)
    expect(refused.stdout).toMatch(/prices +bothChanged +\{"id":"3"\} +\{.*"main"\} +\{.*"dev"\}/)
    expect(refused.stderr).toContain('branch.merge-conflict')
    const dry = await cli(['merge', path, 'dev', '--dry-run'])
    expect(dry).toMatchObject({ code: 1, stdout: expect.stringContaining('would merge dev into main') as string })
    const merged = await ok(['merge', path, 'dev', '--on-conflict', 'theirs', '--message', 'the new prices', '--json'])
    expect(merged.json()).toMatchObject({ fastForward: false, dryRun: false, tables: { prices: { inserted: 1, updated: 2, deleted: 0 } } })
    expect((await ok(['get', path, 'prices', '3'])).stdout).toMatch(/note +dev/)
    expect((await ok(['log', path, '--limit', '1'])).stdout).toContain('the new prices')
    expect((await ok(['merge', path, 'dev'])).stdout).toBe('nothing to merge: main has all of dev\n')
    expect((await ok(['merge', path, 'main', '--into', 'dev'])).stdout).toMatch(/^merged main into dev.* at LSN \d+\n/)
    expect((await ok(['diff', path, 'main', 'dev'])).stdout).toBe('no rows differ\n')
  })

  it('says what it cannot be told', async () => {
    const path = await store()
    expect(await cli(['merge', path, 'dev', '--on-conflict', 'mine'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--on-conflict') as string })
    expect(await cli(['merge', path, 'dev', '--granularity', 'cell'])).toMatchObject({ code: 2 })
    expect(await cli(['merge', path, 'none'])).toMatchObject({ code: 1 })
  })
})
