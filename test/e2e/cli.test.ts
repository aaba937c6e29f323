import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, SOURCES, startCli, tempFolder } from './cli-run.ts'

const CSV = `id,at,delay,origin,note
1,2001-01-01T00:01:00,33,SFO,late
2,2001-01-01T00:02:00,,LAX,""
3,2001-01-02T00:03:00,-4,SFO,"a ""quoted"", one"
4,2001-01-03T00:04:00,75,JFK,
`

async function flights(): Promise<{ folder: string; store: string }> {
  const folder = await tempFolder()
  const store = join(folder, 'store')
  await ok(['import', store, 'flights', '-', '--format', 'csv', '--key', 'id', '--message', 'first load'], CSV)
  return { folder, store }
}

describe('varve', () => {
  it('explains itself, with its exit codes', async () => {
    const help = await cli(['--help'])
    expect(help.code).toBe(0)
    for (const command of [
      'demo',
      'init',
      'import',
      'export',
      'tables',
      'schema',
      'scan',
      'get',
      'log',
      'stats',
      'verify',
      'doctor',
      'repair',
      'staged',
      'audit',
      'bench',
      'unlock',
    ])
      expect(help.stdout).toContain(`  ${command} `)
    expect(help.stdout).toMatch(/Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}4 .*\n {2}130 /)
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
    expect((await cli(['--version'])).stdout).toBe(`${version}\n`)
  })

  it('ends with 2 and a hint when the arguments are wrong', async () => {
    const { store } = await flights()
    const wrong = [
      ['scna'],
      ['scan', store],
      ['scan', store, 'flights', '--frob'],
      ['scan', store, 'flights', '--limit', 'ten'],
      ['scan', store, 'flights', '--where', 'dely > 3'],
      ['scan', store, 'flights', '--select', 'dely'],
      ['scan', store, 'flights', '--order-by', 'dely desc'],
      ['scan', store, 'flights', '--format', 'xml'],
      ['scan', store, 'flights', '--at', '2001-99-99'],
      ['scan', store, 'nothing'],
      ['get', store, 'flights', 'one'],
      ['get', store, 'flights', 'delay=3'],
      ['import', store, 'flights', 'nofile.csv'],
      ['import', store, 'other', '-'],
      ['import', store, 'flights', '-', '--format', 'csv', '--upsert', '--replace'],
      ['verify', store, '--level', 'most'],
      ['export', store, 'flights'],
    ]
    const check = async (args: string[]): Promise<void> => {
      const { code, stderr, stdout } = await cli(args, '')
      expect(`${args.join(' ')}: ${code}`).toBe(`${args.join(' ')}: 2`)
      expect(stderr).toMatch(/^error: /)
      expect(stderr).toMatch(/\n(hint: |\(--help)/)
      expect(stderr).not.toContain('    at ')
      expect(stdout).toBe('')
    }
    // A few at a time: each is a process.
    while (wrong.length > 0) await Promise.all(wrong.splice(0, 4).map(check))
  })

  it('prints errors with code, cause and hint, the stack only with --debug, and as JSON with --json', async () => {
    const folder = await tempFolder()
    const plain = await cli(['tables', join(folder, 'none')])
    expect(plain.code).toBe(1)
    expect(plain.stderr).toMatch(/^error: .*holds no varve store \[store\.not-a-store\]\nhint: {2}Check the path/)
    const debug = await cli(['tables', join(folder, 'none'), '--debug'])
    expect(debug.stderr).toContain('    at ')
    const json = await cli(['tables', join(folder, 'none'), '--json'])
    expect(json.stdout).toBe('')
    expect(JSON.parse(json.stderr)).toMatchObject({
      error: { code: 'store.not-a-store', kind: 'invalid', hint: expect.any(String), message: expect.any(String) },
    })
    const where = await cli(['scan', (await flights()).store, 'flights', '--where', 'delay >', '--json'])
    expect(JSON.parse(where.stderr)).toMatchObject({ error: { code: 'options.invalid' } })
  })

  it('makes a store from a definition file, and prints it back', async () => {
    const folder = await tempFolder()
    const store = join(folder, 'store')
    const definition = {
      name: 'seats',
      columns: { flight: 'int64', row: 'int16', taken: { type: 'bool', default: false }, holder: 'dictionary<utf8> or null' },
      key: ['flight', 'row'],
    }
    await writeFile(join(folder, 'defs.json'), JSON.stringify([definition]))
    const made = await ok(['init', store, '--table', join(folder, 'defs.json'), '--json'])
    expect(made.json()).toMatchObject({ tables: ['seats'], lsn: expect.stringMatching(/^\d+$/), id: expect.stringMatching(/^[0-9a-f]{32}$/) })
    expect((await ok(['schema', store, 'seats', '--json'])).json()).toEqual(definition)
    expect((await ok(['schema', store])).stdout).toMatch(/seats {2}key flight, row\n[\s\S]*holder +dictionary<utf8> +null/)
    const again = await cli(['init', store])
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('[store.exists]')])
    await writeFile(join(folder, 'bad.json'), '{"name":"x","columns":{"a":"int17"}}')
    const bad = await cli(['init', join(folder, 'other'), '--table', join(folder, 'bad.json')])
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining('int17')])
    expect(await readdir(folder)).not.toContain('other')
    await ok(['import', store, 'seats', '-', '--format', 'ndjson'], '{"flight":"7","row":3}\n{"flight":7,"row":4,"taken":true,"holder":"Ada"}\n')
    expect((await ok(['get', store, 'seats', 'flight=7,row=3', '--json'])).json()).toEqual({ flight: '7', row: 3, taken: false, holder: null })
    expect((await ok(['get', store, 'seats', '{"flight":7,"row":4}'])).stdout).toMatch(/holder {2}Ada/)
    expect((await cli(['get', store, 'seats', 'flight=7,row=5'])).code).toBe(1)
    expect((await cli(['get', store, 'seats', 'flight=7,row=5', '--json'])).stdout).toBe('null\n')
  })

  it('guesses the columns of a CSV file and reports what it did', async () => {
    const folder = await tempFolder()
    const store = join(folder, 'store')
    const result = await ok(['import', store, 'flights', '-', '--format', 'csv', '--key', 'id', '--type', 'delay=int16', '--json'], CSV)
    expect(result.json()).toMatchObject({
      table: 'flights',
      mode: 'append',
      created: true,
      rows: 4,
      key: ['id'],
      bytesIn: Buffer.byteLength(CSV),
      lsn: expect.stringMatching(/^\d+$/),
      columns: { id: 'int64', at: 'timestamp[ms] or null', delay: 'int16 or null', origin: 'utf8 or null', note: 'utf8 or null' },
    })
    expect((await ok(['scan', store, 'flights', '--order-by', 'id', '--json'])).lines()).toEqual([
      { id: '1', at: '2001-01-01T00:01:00.000', delay: 33, origin: 'SFO', note: 'late' },
      { id: '2', at: '2001-01-01T00:02:00.000', delay: null, origin: 'LAX', note: '' },
      { id: '3', at: '2001-01-02T00:03:00.000', delay: -4, origin: 'SFO', note: 'a "quoted", one' },
      { id: '4', at: '2001-01-03T00:04:00.000', delay: 75, origin: 'JFK', note: null },
    ])
  })

  it('is one commit: a bad row late in the file leaves nothing, and is named', async () => {
    const { store } = await flights()
    const bad = `${CSV.split('\n')[0]}\n${Array.from({ length: 40_000 }, (_, i) => `${i + 10},2001-01-01T00:01:00,1,SFO,x`).join('\n')}\n99999,2001-01-01T00:01:00,late,SFO,x\n`
    const result = await cli(['import', store, 'flights', '-', '--format', 'csv', '--batch-rows', '1000'], bad)
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(/stdin row 40001, column "delay": "late" is no int64/)
    expect((await ok(['tables', store, '--json'])).json()).toMatchObject([{ name: 'flights', rows: 4 }])
    const twice = await cli(['import', store, 'flights', '-', '--format', 'csv'], CSV)
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining('[write.duplicate-key]')])
    const short = await cli(['import', store, 'flights', '-', '--format', 'csv'], 'id,at\n7\n')
    expect([short.code, short.stderr]).toEqual([1, expect.stringContaining('row 1 has 1 cells, expected 2')])
    const unknown = await cli(['import', store, 'flights', '-', '--format', 'csv'], 'id,dely\n7,1\n')
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('did you mean "delay"?')])
    expect((await ok(['verify', store])).stdout).toMatch(/^ok: /)
  })

  it('upserts, replaces and numbers rows', async () => {
    const { store } = await flights()
    const count = async (name: string): Promise<number> =>
      ((await ok(['tables', store, '--json'])).json() as { name: string; rows: number }[]).find((one) => one.name === name)!.rows
    await ok(['import', store, 'flights', '-', '--format', 'csv', '--upsert'], CSV.replace(',33,', ',34,'))
    expect(await count('flights')).toBe(4)
    expect((await ok(['get', store, 'flights', '1', '--json'])).json()).toMatchObject({ delay: '34' })
    await ok(['import', store, 'flights', '-', '--format', 'csv', '--replace'], `${CSV.split('\n').slice(0, 2).join('\n')}\n`)
    expect(await count('flights')).toBe(1)
    const numbered = await ok(['import', store, 'lines', '-', '--format', 'tsv', '--add-id', 'row'], 'a\tb\n1\tx\n2\ty\n')
    expect(numbered.stdout).toContain('lines(row int64, a int64 or null, b utf8 or null; key row)')
    await ok(['import', store, 'lines', '-', '--format', 'tsv', '--add-id', 'row'], 'a\tb\n3\tz\n')
    expect((await ok(['scan', store, 'lines', '--order-by', 'row', '--json'])).lines().map(({ row, b }) => [row, b])).toEqual([
      ['0', 'x'],
      ['1', 'y'],
      ['2', 'z'],
    ])
    await ok(['import', store, 'bare', '-', '--format', 'csv', '--no-header', '--delimiter', ';'], '1;x\n2;y\n')
    expect((await ok(['scan', store, 'bare', '--select', 'c2', '--order-by', 'c1', '--json'])).lines()).toEqual([{ c2: 'x' }, { c2: 'y' }])
  })

  it('scans with --where, --select, --order-by, --limit and --at', async () => {
    const { store } = await flights()
    const before = (await ok(['stats', store, '--json'])).json().lsn as string
    await ok(['import', store, 'flights', '-', '--format', 'csv', '--upsert'], CSV.replace(',33,', ',99,'))
    const shown = await ok([
      'scan',
      store,
      'flights',
      '--where',
      "delay > 0 and origin in ('SFO', 'JFK')",
      '--select',
      'origin,delay',
      '--order-by',
      'delay desc',
    ])
    expect(shown.stdout).toBe('origin  delay\n──────  ─────\nSFO        99\nJFK        75\n')
    const then = await ok(['scan', store, 'flights', '--where', 'delay > 0', '--order-by', 'delay desc', '--limit', '1', '--at', before, '--json'])
    expect(then.lines()).toMatchObject([{ delay: '75' }])
    expect((await ok(['get', store, 'flights', '1', '--at', before, '--json'])).json()).toMatchObject({ delay: '33' })
    const dated = await ok(['scan', store, 'flights', '--at', '2999-01-01', '--json'])
    expect(dated.lines()).toHaveLength(4)
    const early = await cli(['scan', store, 'flights', '--at', '2000-01-01', '--json'])
    expect(early.code).not.toBe(0)
    expect((await ok(['scan', store, 'flights', '--limit', '0'])).stdout).toMatch(/^id +at .*\n─/)
    expect((await ok(['scan', store, 'flights', '--explain', '--json'])).json()).toMatchObject({
      lsn: expect.any(String),
      fragments: expect.any(Number),
      text: expect.any(String),
    })
  })

  it('shows at most 100 rows and says so', async () => {
    const { store } = await flights()
    await ok(['import', store, 'many', '-', '--format', 'csv'], `n\n${Array.from({ length: 101 }, (_, i) => i).join('\n')}\n`)
    const shown = await ok(['scan', store, 'many'])
    expect([shown.stdout.split('\n').length, shown.stderr]).toEqual([103, 'first 100 rows; --limit N shows more\n'])
    expect((await ok(['scan', store, 'many', '--limit', '101'])).stderr).toBe('')
  })

  it('lists commits, newest first, without flushes', async () => {
    const { store } = await flights()
    await ok(['import', store, 'flights', '-', '--format', 'csv', '--upsert'], CSV)
    const commits = (await ok(['log', store, '--json'])).lines()
    expect(commits.map(({ counts, schema, message }) => ({ counts, schema, message }))).toEqual([
      { counts: { flights: { inserted: 0, updated: 4, deleted: 0 } }, schema: [], message: undefined },
      { counts: { flights: { inserted: 4, updated: 0, deleted: 0 } }, schema: [], message: 'first load' },
      { counts: {}, schema: ['flights'], message: undefined },
    ])
    expect(commits.every(({ lsn, time, writeId }) => /^\d+$/.test(lsn) && !Number.isNaN(Date.parse(time)) && writeId.length === 26)).toBe(true)
    expect((await ok(['log', store, '--limit', '1', '--json'])).lines()).toHaveLength(1)
    expect((await ok(['log', store, '--from', commits[1].lsn, '--json'])).lines()).toHaveLength(1)
    expect((await ok(['log', store])).stdout).toMatch(/first load {2}flights \+4/)
  })

  it('prints statistics with 64-bit numbers as text', async () => {
    const { store } = await flights()
    expect((await ok(['stats', store, '--json'])).json()).toMatchObject({
      lsn: expect.stringMatching(/^\d+$/),
      tables: { flights: { rows: 4 } },
      log: { segments: expect.any(Number), bytes: expect.any(Number) },
    })
    expect((await ok(['stats', store])).stdout).toMatch(/flights +4 /)
  })

  it('ends with 3 when verify finds a flipped bit, and names the file', async () => {
    const { store } = await flights()
    const rows = Array.from({ length: 60_000 }, (_, i) => `${i * 7919},text ${(i * 104_729) % 60_013}`).join('\n')
    await ok(['import', store, 'wide', '-', '--format', 'csv'], `a,b\n${rows}\n`)
    expect((await cli(['verify', store, '--json'])).json()).toMatchObject({ ok: true, problems: [], digest: expect.stringMatching(/^[0-9a-f]{64}$/) })
    const fragment = (await readdir(join(store, 'fragments'), { recursive: true })).find((name) => name.endsWith('.arrow'))!
    const path = join(store, 'fragments', fragment)
    const bytes = await readFile(path)
    bytes[Math.floor(bytes.length / 2)]! ^= 1
    await writeFile(path, bytes)
    const found = await cli(['verify', store, '--json'])
    expect(found.code).toBe(3)
    expect(found.json()).toMatchObject({ ok: false, problems: [{ code: 'fragment.corrupt', file: expect.stringContaining('.arrow') }] })
    const shown = await cli(['verify', store])
    expect([shown.code, shown.stdout]).toEqual([3, expect.stringMatching(/^1 problem in .*\nfragment\.corrupt {2}fragments\//)])
  })

  it('ends quietly with 0 when the reader of its output goes away', async () => {
    const { store } = await flights()
    await ok(['import', store, 'many', '-', '--format', 'csv'], `n,text\n${Array.from({ length: 100_000 }, (_, i) => `${i},some text`).join('\n')}\n`)
    for (const args of [
      ['scan', store, 'many', '--json'],
      ['export', store, 'many', '--format', 'arrows'],
    ]) {
      const child = startCli(args)
      let errors = ''
      child.stderr.on('data', (chunk: Buffer) => {
        errors += chunk.toString()
      })
      await once(child.stdout, 'data')
      child.stdout.destroy()
      const [code] = (await once(child, 'close')) as [number]
      expect([code, errors]).toEqual([0, ''])
    }
  })

  it('ends with 130 when it is interrupted, with nothing written', async () => {
    const { store } = await flights()
    const child = startCli(['import', store, 'flights', '-', '--format', 'csv'])
    child.stdin.on('error', () => undefined)
    const rows = Array.from({ length: 20_000 }, (_, i) => `${i + 100},2001-01-01T00:01:00,1,SFO,x`).join('\n')
    // More than a pipe holds: once it is written, the command has begun to read it, and waits for the rest.
    await new Promise((resolve) => child.stdin.write(`${CSV.split('\n')[0]}\n${rows}\n`, resolve))
    child.kill('SIGINT')
    const [code] = (await once(child, 'close')) as [number]
    expect(code).toBe(130)
    expect((await ok(['tables', store, '--json'])).json()).toMatchObject([{ rows: 4 }])
  })

  it('does not wait for the rest of a pipe when its rows are wrong', async () => {
    const { store } = await flights()
    for (const args of [
      ['import', store, 'flights', '-', '--format', 'csv', '--batch-rows', '100'],
      ['import', store, 'flights', '-', '--format', 'ndjson', '--batch-rows', '100'],
    ]) {
      const child = startCli(args)
      child.stdin.on('error', () => undefined)
      const isCsv = args.includes('csv')
      const row = (i: number): string =>
        isCsv ? `${i + 100},2001-01-01T00:01:00,${i === 20 ? 'late' : 1},SFO,x` : `{"id":"${i + 100}","delay":${i === 20 ? '"late"' : 1}}`
      child.stdin.write(`${isCsv ? `${CSV.split('\n')[0]}\n` : ''}${Array.from({ length: 20_000 }, (_, i) => row(i)).join('\n')}\n`)
      const [code] = (await once(child, 'close')) as [number]
      expect(code).toBe(1)
    }
    expect((await ok(['tables', store, '--json'])).json()).toMatchObject([{ rows: 4 }])
  })

  it('reads beside a writer, and ends with 4 where it needs the lock', async () => {
    const { store } = await flights()
    {
      await using writer = await Store.open(store)
      expect((await ok(['tables', store, '--json'])).json()).toMatchObject([{ rows: 4 }])
      const refused = await cli(['import', store, 'flights', '-', '--format', 'csv', '--upsert'], CSV)
      expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining(`process ${process.pid} on`)])
      const shown = await cli(['unlock', store, '--json'])
      expect(shown.code).toBe(4)
      expect(shown.json()).toMatchObject({ state: 'held', alive: true, holder: { pid: process.pid }, unlocked: false })
      const unasked = await cli(['unlock', store, '--force'])
      expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining('--yes')])
      const forced = await cli(['unlock', store, '--force', '--yes'])
      expect([forced.code, forced.stderr]).toEqual([4, expect.stringContaining('[lock.held]')])
      expect(writer.closed).toBe(false)
    }
    const free = await ok(['unlock', store])
    expect(free.stdout).toMatch(/released: the store is free/)
  })

  it('takes the lock of a host that is gone, when it is told to', async () => {
    const { store } = await flights()
    const held = await Store.open(store, {
      world: { host: { name: 'gone.example', pid: 4242, bootId: 'boot', processStartTime: '1', isAlive: () => undefined } },
    })
    const shown = await cli(['unlock', store])
    expect([shown.code, shown.stdout]).toEqual([4, expect.stringMatching(/4242 on gone\.example, whether it runs cannot be told/)])
    const forced = await ok(['unlock', store, '--force', '--yes', '--json'])
    expect(forced.json()).toMatchObject({ unlocked: true, state: 'released', was: { pid: 4242, host: 'gone.example' } })
    await ok(['import', store, 'flights', '-', '--format', 'csv', '--upsert'], CSV)
    // Its late commit is refused: the epoch has passed on.
    await expect(held.append(table('flights', { id: t.int64() }, { key: ['id'] }), { id: 77n })).rejects.toThrow()
    await held.close().catch(() => undefined)
    expect((await ok(['verify', store])).stdout).toMatch(/^ok: /)
  })

  it('measures this machine', async () => {
    const folder = await tempFolder()
    const { results } = (await ok(['bench', '--rows', '2000', '--dir', folder, '--json'])).json() as {
      results: { name: string; unit: string; median: number }[]
    }
    expect(results.map(({ name }) => name)).toEqual(['commit-1', 'commit-256', 'load', 'get-present', 'scan-filter', 'sum'])
    expect(results.every(({ median }) => median > 0)).toBe(true)
    expect(await readdir(folder)).toEqual([])
  })

  it('demonstrates the store and checks every claim', async () => {
    const folder = await tempFolder()
    // As `npm run demo` does, from the sources: it prints how it was called.
    const first = await cli(['demo', '--rows', '30000', '--dir', join(folder, 'demo'), '--json'], undefined, [], SOURCES)
    expect(first.code, first.stderr).toBe(0)
    const demo = first.json() as {
      ok: boolean
      claims: { ok: boolean }[]
      figures: { name: string }[]
      commands: string[]
    }
    expect(demo.ok).toBe(true)
    expect(demo.claims.length).toBeGreaterThanOrEqual(14)
    expect(demo.figures.map(({ name }) => name)).toEqual(expect.arrayContaining(['import', 'upsert', 'commits', 'reopen after the kill', 'store on disk']))
    // The commands that it prints work on the store that it leaves.
    for (const command of demo.commands.filter((one) => !one.includes(' -o '))) {
      expect(command).toMatch(/^npx .*?main\.ts /)
      const args = [...command.replace(/^npx .*?main\.ts /, '').matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare!)
      await ok(args)
    }
    const again = await cli(['demo', '--dir', join(folder, 'demo')])
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('is not empty')])
  })
})
