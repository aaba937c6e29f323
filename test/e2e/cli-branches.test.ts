// e2e/cli-branches.test.ts: branches and tags from the command line: made, listed, read and deleted.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder } from './cli-run.ts'

const rows = table('rows', { id: t.int32(), text: t.utf8() }, { key: ['id'] })

async function store(): Promise<string> {
  const path = join(await tempFolder(), 'store')
  await using opened = await Store.open(path)
  await opened.create(rows)
  await opened.append(rows, [
    { id: 1, text: 'one' },
    { id: 2, text: 'two' },
  ])
  return path
}

describe('varve branch and varve tag', () => {
  it('make, list, read and delete', async () => {
    const path = await store()
    expect((await ok(['branch', 'create', path, 'dev'])).stdout).toContain('branch dev is made')
    expect((await ok(['tag', 'create', path, 'v1', '--message', 'first'])).stdout).toMatch(/tag v1 is LSN \d+/)
    {
      await using opened = await Store.open(path)
      await (await opened.branch('dev')).upsert(rows, { id: 2, text: 'changed' })
      await opened.append(rows, { id: 3, text: 'three' })
    }
    const read = async (...args: string[]): Promise<unknown[]> =>
      (await ok(['scan', path, 'rows', '--order-by', 'id', '--json', ...args])).stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { text: string }).text)
    expect(await read('--branch', 'dev')).toEqual(['one', 'changed'])
    expect(await read('--at', 'v1')).toEqual(['one', 'two'])
    expect(await read('--at', 'dev')).toEqual(['one', 'changed'])
    expect(await read()).toEqual(['one', 'two', 'three'])
    expect(JSON.parse((await ok(['get', path, 'rows', '2', '--branch', 'dev', '--json'])).stdout)).toEqual({ id: 2, text: 'changed' })
    expect((await ok(['branch', 'ls', path])).stdout).toMatch(/main[^]*dev/)
    expect(JSON.parse((await ok(['tag', 'ls', path, '--json'])).stdout)).toMatchObject([{ name: 'v1', message: 'first' }])
    await ok(['branch', 'create', path, 'fix', '--from', 'v1'])
    expect(await read('--branch', 'fix')).toEqual(['one', 'two'])
    await ok(['branch', 'delete', path, 'dev'])
    await ok(['tag', 'delete', path, 'v1'])
    expect((await ok(['tag', 'ls', path])).stdout).toContain('no tags')
    expect((JSON.parse((await ok(['branch', 'ls', path, '--json'])).stdout) as { name: string }[]).map(({ name }) => name)).toEqual(['main', 'fix'])
  })

  it('varve import writes to a branch, and varve merge brings it to main', async () => {
    const path = await store()
    await ok(['branch', 'create', path, 'dev'])
    const commit = (await ok(['import', path, 'rows', '-', '--format', 'csv', '--upsert', '--branch', 'dev', '--json'], 'id,text\n2,changed\n3,new\n')).json()
    expect(commit).toMatchObject({ rows: 2, created: false })
    const texts = async (...args: string[]): Promise<unknown[]> =>
      (await ok(['scan', path, 'rows', '--order-by', 'id', '--json', ...args])).lines().map(({ text }: { text: string }) => text)
    expect(await texts()).toEqual(['one', 'two'])
    expect(await texts('--branch', 'dev')).toEqual(['one', 'changed', 'new'])
    await ok(['merge', path, 'dev'])
    expect(await texts()).toEqual(['one', 'changed', 'new'])
    const nowhere = await cli(['import', path, 'rows', '-', '--format', 'csv', '--branch', 'nope'], 'id,text\n9,x\n')
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('"nope"')])
    const fresh = await cli(['import', path, 'others', '-', '--format', 'csv', '--branch', 'dev'], 'id,text\n9,x\n')
    expect([fresh.code, fresh.stderr]).toEqual([2, expect.stringContaining('Only main makes tables')])
  })

  it('say what is wrong', async () => {
    const path = await store()
    for (const [args, code, text] of [
      [['branch', 'make', path], 2, 'There is: ls, create, delete'],
      [['branch', 'create', path], 2, 'needs a name'],
      [['tag', 'delete', path], 2, 'needs a name'],
      [['tag', 'list', path], 2, 'There is'],
      [['scan', path, 'rows', '--branch', 'x', '--at', '1'], 2, 'exclude each other'],
    ] as const) {
      const { code: found, stderr } = await cli([...args])
      expect([found, stderr]).toEqual([code, expect.stringContaining(text)])
    }
    const missing = await cli(['branch', 'delete', path, 'nope'])
    expect(missing.code).not.toBe(0)
    expect(missing.stderr).toContain('nope')
  })
})
