// e2e/cli-recovery.test.ts: doctor, repair, staged and audit as processes of their own, on stores that are whole, damaged, in use or waiting.
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder } from './cli-run.ts'

const rows = table('rows', { id: t.int64(), text: t.utf8() }, { key: ['id'] })

/** Some commits, one of them a load with a key index; closed. */
async function store(): Promise<string> {
  const path = join(await tempFolder(), 'store')
  await using opened = await Store.open(path, { inlineLimitBytes: 4096 })
  await opened.create(rows)
  await opened.append(
    rows,
    Array.from({ length: 2000 }, (_, i) => ({ id: BigInt((i * 7919) % 100_003), text: `row ${i}` })),
  )
  for (let i = 0; i < 5; i++) await opened.append(rows, { id: BigInt(200_000 + i), text: 'late' }, { message: `late ${i}`, author: 'ada' })
  return path
}

async function tree(path: string): Promise<Map<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(await Promise.all(files.sort().map(async (file) => [file, await readFile(file, 'latin1')] as const)))
}

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file)
  bytes[at]! ^= 1
  await writeFile(file, bytes)
}

const segments = async (path: string): Promise<string[]> => (await readdir(join(path, 'log'))).sort().map((name) => join(path, 'log', name))

describe('varve doctor and varve repair', () => {
  it('of a whole store: nothing to know, nothing to do, no byte changes', async () => {
    const path = await store()
    const before = await tree(path)
    const doctor = await ok(['doctor', path])
    expect(doctor.stdout).toMatch(/^ok: nothing is pending, damaged or drifting\n/)
    expect(doctor.stdout).toMatch(/lock +LOCK\.1 is released/)
    expect((await ok(['doctor', path, '--json'])).json()).toMatchObject({ ok: true, findings: [], pending: [], facts: { lock: { state: 'released' } } })
    expect((await ok(['repair', path])).stdout).toBe('ok: nothing to repair; nothing was changed\n')
    expect((await ok(['repair', path, '--confirm', '--json'])).json()).toEqual({ confirmed: true, actions: [], problems: [], pending: [], quarantine: [] })
    expect(await tree(path)).toEqual(before)
  })

  it('say what is no store, and that a number is none', async () => {
    for (const command of ['doctor', 'repair']) {
      const none = await cli([command, join(await tempFolder(), 'none')])
      expect([none.code, none.stderr]).toEqual([1, expect.stringContaining('[store.not-a-store]')])
    }
    const wrong = await cli(['repair', await store(), '--drop-after', 'ten'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--drop-after')])
    const whole = await cli(['repair', await store(), '--drop-after', '3', '--json'])
    expect([whole.code, JSON.parse(whole.stderr)]).toMatchObject([1, { error: { code: 'options.invalid', message: expect.stringContaining('not damaged') } }])
  })

  it('an index that is damaged: found, shown, built again', async () => {
    const path = await store()
    const [index] = [...(await tree(path)).keys()].filter((file) => file.endsWith('.idx'))
    await flip(index!, 40)
    const doctor = await cli(['doctor', path])
    expect(doctor.code).toBe(3)
    expect(doctor.stdout).toMatch(/^1 thing needs a person\n\ndamaged\n {2}indexes\/.*\n {4}rebuild-index: .*\n {4}repair: varve repair --confirm\.\n/)
    const preview = await cli(['repair', path])
    expect([preview.code, preview.stdout]).toEqual([
      3,
      expect.stringMatching(/^rebuild-index {2}indexes\/.* \(safe\)\n[\s\S]*preview: nothing was changed\nvarve repair --confirm does it\n$/),
    ])
    const confirmed = await ok(['repair', path, '--confirm'])
    expect(confirmed.stdout).toMatch(/^rebuild-index .* \(done\)\n[\s\S]*1 action done\noriginals and notes: quarantine\//)
    expect((await ok(['verify', path])).stdout).toMatch(/^ok: /)
    const after = await ok(['doctor', path])
    expect(after.stdout).toMatch(/quarantine +.* in 1 folder\n {2}quarantine\/\S+ {2}1 file, .*\n {4}.* rebuild-index indexes\//)
    expect((await ok(['audit', path, '--kind', 'rebuild-index', '--json'])).lines()).toMatchObject([
      { kind: 'rebuild-index', by: 'varve:repair', tables: ['rows'] },
    ])
  })

  it('a log that is damaged: what a cut loses is listed, and it is cut only at the LSN that is named', async () => {
    const path = await store()
    const [segment] = await segments(path)
    // Behind the load: in one of the five commits.
    const bytes = await readFile(segment!)
    await flip(segment!, bytes.indexOf('late 2') - 4)
    const open = await cli(['tables', path])
    expect([open.code, open.stderr]).toEqual([1, expect.stringContaining('[log.corrupt]')])
    const preview = await cli(['repair', path, '--json'])
    const { lost, actions } = preview.json()
    expect([preview.code, actions.map(({ kind, needs }: { kind: string; needs: string }) => [kind, needs])]).toEqual([
      3,
      [['cut-log', `--drop-after ${lost.after}`]],
    ])
    expect(lost.commits.map(({ message, author }: { message: string; author: string }) => [message, author])).toEqual([
      ['late 3', 'ada'],
      ['late 4', 'ada'],
    ])
    expect(lost.unreadable).toBe(1)
    expect((await cli(['doctor', path])).stdout).toMatch(
      /a cut after LSN \d+ loses .* 2 readable records .*, and 1 that cannot be read\n[\s\S]* late 3 +rows \+1 ~0 -0/,
    )
    const before = await tree(path)
    const unnamed = await cli(['repair', path, '--confirm'])
    expect([unnamed.code, unnamed.stdout]).toEqual([
      3,
      expect.stringContaining(`varve repair --confirm --drop-after ${lost.after} does it, and loses what is listed`),
    ])
    expect(await tree(path)).toEqual(before)
    const cut = await ok(['repair', path, '--confirm', '--drop-after', lost.after, '--json'])
    expect(cut.json()).toMatchObject({ confirmed: true, problems: [], actions: [{ kind: 'cut-log', done: true }] })
    expect((await ok(['verify', path])).stdout).toMatch(/^ok: /)
    expect((await ok(['tables', path, '--json'])).json()).toMatchObject([{ name: 'rows', rows: 2002 }])
    expect((await ok(['audit', path, '--kind', 'cut-log'])).stdout).toMatch(/cut-log +varve:repair/)
  })

  it('VARVE is lost: adopted', async () => {
    const path = await store()
    const { id } = (await ok(['stats', path, '--json'])).json()
    await rm(join(path, 'VARVE'))
    expect((await cli(['doctor', path])).stdout).toContain('adopt-log: VARVE is not there')
    await ok(['repair', path, '--confirm'])
    expect((await ok(['stats', path, '--json'])).json()).toMatchObject({ id })
  })

  it('beside a writer: doctor and a preview read, a confirmed repair ends with 4', async () => {
    const path = await store()
    const [index] = [...(await tree(path)).keys()].filter((file) => file.endsWith('.idx'))
    await rm(index!)
    await using writer = await Store.open(path)
    const doctor = await cli(['doctor', path])
    expect([doctor.code, doctor.stdout]).toEqual([3, expect.stringContaining(`is held by process ${process.pid}`)])
    expect((await cli(['repair', path])).code).toBe(3)
    const refused = await cli(['repair', path, '--confirm'])
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining(`process ${process.pid} on`)])
    await writer.append(rows, { id: 1_000_000n, text: 'goes on' })
  })

  it('an INTENT that cannot be read: a read-write open refuses, repair moves it away', async () => {
    const path = await store()
    const id = '01JD3Q0V6W2M5K8YB1ZC4E7N9T'
    await (await import('node:fs/promises')).mkdir(join(path, 'staging', id), { recursive: true })
    await writeFile(join(path, 'staging', id, 'INTENT'), '{"schemaVersion":1')
    const refused = await cli(['import', path, 'rows', '-', '--format', 'ndjson', '--upsert'], '{"id":"1","text":"x"}\n')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[recovery.corrupt-intent]')])
    const doctor = await cli(['doctor', path, '--json'])
    expect(doctor.json()).toMatchObject({ ok: false, findings: [{ area: 'pending', what: id, who: 'repair', needsPerson: true }] })
    expect(doctor.json().pending).toMatchObject([{ writeId: id, state: 'unreadable', decision: { kind: 'refuse', reason: 'CorruptIntentError' } }])
    const { quarantine } = (await ok(['repair', path, '--confirm', '--json'])).json()
    expect(await readFile(join(path, quarantine[0], 'staging', id, 'INTENT'), 'utf8')).toBe('{"schemaVersion":1')
    await ok(['import', path, 'rows', '-', '--format', 'ndjson', '--upsert'], '{"id":"1","text":"x"}\n')
  })
})

describe('varve staged', () => {
  const sealed = async (path: string, ids: readonly bigint[], message: string): Promise<string> => {
    await using opened = await Store.open(path)
    const write = await opened.stage({ message })
    await write.append(
      rows,
      ids.map((id) => ({ id, text: 'staged' })),
    )
    await write.seal()
    return write.id
  }
  const count = async (path: string): Promise<number> => (await ok(['tables', path, '--json'])).json()[0].rows

  it('lists what waits, publishes one, rolls another back; each is told in the audit', async () => {
    const path = await store()
    expect((await ok(['staged', 'ls', path])).stdout).toBe('no staged writes\n')
    const first = await sealed(path, [900_001n, 900_002n], 'nightly')
    const second = await sealed(path, [900_003n], 'a mistake')
    expect(await count(path)).toBe(2005)
    const listed = (await ok(['staged', 'ls', path, '--json'])).json()
    expect(listed).toMatchObject([
      { writeId: first, mode: 'hold', state: 'sealed', message: 'nightly', decision: { kind: 'keep', rule: 'd12' } },
      { writeId: second, message: 'a mistake' },
    ])
    expect((await ok(['staged', 'ls', path])).stdout).toMatch(new RegExp(`^write .*\\n─+.*\\n${first} +staged +main .* keep +nightly\\n`))
    // Waiting for their user needs no doctor; repair leaves files alone beside them.
    const doctor = await ok(['doctor', path])
    expect(doctor.stdout).toMatch(/^ok: 2 things to know, none of which needs you\n\npending\n/)
    expect(doctor.stdout).toContain(`varve staged publish or rollback ${first}`)
    const preview = await cli(['repair', path])
    expect([preview.code, preview.stdout]).toEqual([
      3,
      `
2 undecided writes: repair leaves files alone beside them; varve doctor shows who decides them
  ${first}
  ${second}
varve repair --confirm refuses: write ${first} and 1 more are not decided; repair leaves files alone beside them
  Publish or roll back what is held, which no open decides: varve staged publish or varve staged rollback, ${first}, ${second}. Then run varve repair again.

preview: nothing was changed
`,
    ])
    const refused = await cli(['repair', path, '--confirm'])
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[write.pending-intent]')])
    expect(refused.stderr).toContain('no open decides')
    const published = await ok(['staged', 'publish', path, first, '--json'])
    expect(published.json()).toMatchObject({ writeId: first, state: 'published', rows: 2, replayed: false, lsn: expect.stringMatching(/^\d+$/) })
    expect(await count(path)).toBe(2007)
    expect((await ok(['staged', 'rollback', path, second, '--reason', 'wrong file'])).stdout).toBe(`${second} is rolled back: wrong file\n`)
    expect(await count(path)).toBe(2007)
    expect((await ok(['staged', 'ls', path])).stdout).toBe('no staged writes\n')
    const kinds = (await ok(['audit', path, '--kind', 'seal,rollback', '--json'])).lines()
    expect(kinds.map(({ kind, writeId, reason }) => [kind, writeId, reason])).toEqual([
      ['seal', first, undefined],
      ['seal', second, undefined],
      ['rollback', second, 'wrong file'],
    ])
    expect(await tree(join(path, 'staging')).catch(() => new Map())).toEqual(new Map())
  })

  it('a second time: publishing says so, rolling back what is published is refused', async () => {
    const path = await store()
    const id = await sealed(path, [900_001n], 'nightly')
    await ok(['staged', 'publish', path, id])
    expect((await ok(['staged', 'publish', path, id])).stdout).toContain('is published')
    const refused = await cli(['staged', 'rollback', path, id])
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[write.already-published]')])
    expect(await count(path)).toBe(2006)
  })

  it('ends with 2 when the arguments are wrong, 1 when nothing of that id is known, 4 beside a writer', async () => {
    const path = await store()
    for (const args of [
      ['staged', 'frob', path],
      ['staged', 'publish', path],
      ['staged', 'publish', path, 'not-an-id'],
    ]) {
      const wrong = await cli(args)
      expect([args.join(' '), wrong.code, wrong.stderr]).toEqual([args.join(' '), 2, expect.stringMatching(/^error: .*\nhint: /)])
    }
    const unknown = await cli(['staged', 'publish', path, '01JD3Q0V6W2M5K8YB1ZC4E7N9T'])
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('01JD3Q0V6W2M5K8YB1ZC4E7N9T')])
    const id = await sealed(path, [900_001n], 'nightly')
    await using _writer = await Store.open(path)
    expect((await cli(['staged', 'publish', path, id])).code).toBe(4)
    expect((await ok(['staged', 'ls', path, '--json'])).json()).toHaveLength(1)
  })

  it('a held write whose file is damaged: doctor wants a person, publish refuses, rollback ends it', async () => {
    const path = await store()
    const id = await sealed(
      path,
      Array.from({ length: 100 }, (_, i) => 900_000n + BigInt(i)),
      'nightly',
    )
    const [file] = [...(await tree(join(path, 'staging', id))).keys()].filter((name) => name.endsWith('.arrow'))
    await flip(file!, 30)
    const doctor = await cli(['doctor', path, '--json'])
    expect([doctor.code, doctor.json().findings]).toMatchObject([
      3,
      [{ area: 'pending', what: id, who: 'you', needsPerson: true, advice: expect.stringContaining(`varve staged rollback ${id}`) }],
    ])
    const refused = await cli(['staged', 'publish', path, id])
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('[write.damaged]')])
    await ok(['staged', 'rollback', path, id])
    expect((await ok(['doctor', path, '--json'])).json().findings).toEqual([])
    expect((await ok(['verify', path])).stdout).toMatch(/^ok: /)
  })
})

describe('varve audit', () => {
  it('lists records, by position and by kind', async () => {
    const path = await store()
    const all = (await ok(['audit', path, '--json'])).lines()
    expect(all.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['epoch', 'schema', 'commit']))
    expect(all.map(({ lsn }) => Number(lsn))).toEqual(all.map((_, i) => i + 1))
    expect((await ok(['audit', path, '--from', '3', '--json'])).lines().length).toBe(all.length - 3)
    const commits = (await ok(['audit', path, '--kind', 'commit,schema', '--json'])).lines()
    expect(new Set(commits.map(({ kind }) => kind))).toEqual(new Set(['commit', 'schema']))
    expect((await ok(['audit', path])).stdout).toMatch(/^LSN +time +kind +by +write +what\n─+ .*\n +1 .* epoch /)
    expect((await ok(['audit', path, '--kind', 'rollback'])).stdout).toBe('no such records\n')
    const unknown = await cli(['audit', path, '--kind', 'nothing'])
    expect(unknown.code).not.toBe(0)
    expect(unknown.stderr).toContain('known are epoch, schema, branch, commit')
  })
})
