// e2e/cli-ship.test.ts: serve, replica, promote and ship status as processes of their own, over loopback.
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Store, t, table } from '../../bindings/index.ts'
import { fence } from '../../bindings/shipping.ts'
import { cli, ok, startCli, tempFolder } from './cli-run.ts'

const rows = table('rows', { id: t.int64(), text: t.utf8() }, { key: ['id'] })
const KEY = 'a1'.repeat(32)

interface Started {
  /** The next line of JSON that has this event. */
  event(name: string): Promise<any>
  write(line: string): void
  endInput(): void
  /** Ctrl-C. @returns the exit code */
  interrupt(): Promise<number | null>
  ended(): Promise<number | null>
  /** What it has said on stderr. */
  errors(): string
}

function start(args: readonly string[]): Started {
  const child = startCli([...args, '--json'])
  onTestFinished(() => void child.kill('SIGKILL'))
  const closed = once(child, 'close').then(([code]) => code as number | null)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  return {
    event: async (name) => {
      for (;;) {
        const { value, done } = await lines.next()
        if (done === true) throw new Error(`varve ${args.join(' ')} ended before "${name}": ${errors}`)
        const parsed = JSON.parse(value)
        if (parsed.event === name) return parsed
      }
    },
    write: (line) => void child.stdin.write(`${line}\n`),
    endInput: () => child.stdin.end(),
    interrupt: async () => {
      child.kill('SIGINT')
      return await closed
    },
    ended: () => closed,
    errors: () => errors,
  }
}

async function store(): Promise<{ folder: string; path: string }> {
  const folder = await tempFolder()
  const path = join(folder, 'store')
  const made = await Store.open(path)
  await made.create(rows)
  await made.append(rows, { id: 0n, text: 'zero' })
  await made.close()
  return { folder, path }
}

describe('varve serve, varve replica, varve ship status, varve promote', () => {
  it('ship what comes on stdin to two replicas, show them, and make one of them the primary', { timeout: 120_000 }, async () => {
    const { folder, path } = await store()
    const [one, two] = [join(folder, 'one'), join(folder, 'two')]
    const [r1, r2] = [start(['replica', one, '--id', 'r1']), start(['replica', two, '--id', 'r2'])]
    const named = [`r1=${(await r1.event('listening')).endpoint}`, `r2=${(await r2.event('listening')).endpoint}`].flatMap((each) => ['--replica', each])
    const primary = start(['serve', path, ...named, '--ack', 'quorum', '--append', 'rows'])
    expect(await primary.event('serving')).toMatchObject({ mode: 'quorum' })
    for (let i = 0; i < 2;) if ((await primary.event('state')).to === 'in_sync') i++
    for (let i = 1; i <= 20; i++) primary.write(JSON.stringify({ id: String(i), text: `line ${i}` }))
    for (let i = 1; i <= 20; i++) expect(await primary.event('committed')).toMatchObject({ line: i, lsn: expect.stringMatching(/^\d+$/) })
    const status = (await ok(['ship', 'status', path, ...named, '--once', '--json'])).json()
    expect(status).toMatchObject({ equal: true, replicas: [{ id: 'r1' }, { id: 'r2' }] })
    expect(Object.keys(status.digests)).toEqual(['r1', 'r2'])
    expect((await ok(['ship', 'status', path, ...named, '--once'])).stdout).toMatch(/all 2 have the same history up to LSN \d+/)
    primary.endInput()
    expect(await primary.event('closing')).toMatchObject({ mode: 'quorum', inSync: 2 })
    expect(await primary.ended()).toBe(0)
    expect([await r1.interrupt(), await r2.interrupt()]).toEqual([0, 0])
    const report = (await ok(['verify', path, '--against', one, '--json'])).json()
    expect(report).toMatchObject({ ok: true, against: { equal: true } })
    expect((await ok(['verify', path, '--against', two])).stdout).toMatch(/equal up to LSN/)
    const promoted = (await ok(['promote', one, '--id', 'r1', '--json'])).json()
    expect(Number(promoted.epoch)).toBeGreaterThan(1)
    expect((await ok(['get', one, 'rows', '20'])).stdout).toContain('line 20')
    // The folder is a store that is written to from here on.
    const again = await Store.open(one)
    await again
      .append(rows, { id: 100n, text: 'after' }, { signal: AbortSignal.timeout(10_000) })
      .catch((error: unknown) => expect(error).toMatchObject({ code: 'ship.ack-unavailable' }))
    await again.close()
  })

  it('know a key, and refuse those who have another one', { timeout: 60_000 }, async () => {
    const { folder, path } = await store()
    const [key, wrong] = [join(folder, 'key'), join(folder, 'wrong')]
    await writeFile(key, `${KEY}\n`)
    await writeFile(wrong, 'b2'.repeat(32))
    const replica = start(['replica', join(folder, 'one'), '--id', 'r1', '--key-file', key])
    const named = ['--replica', `r1=${(await replica.event('listening')).endpoint}`]
    const primary = start(['serve', path, ...named, '--key-file', key])
    while ((await primary.event('state')).to !== 'in_sync');
    const refused = await cli(['ship', 'status', ...named, '--key-file', wrong, '--once', '--json'])
    expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([3, { replicas: [{ error: { code: 'ship.auth' } }] }])
    expect((await ok(['ship', 'status', ...named, '--key-file', key, '--once', '--json'])).json()).toMatchObject({ equal: true })
    expect([await primary.interrupt(), await replica.interrupt()]).toEqual([0, 0])
  })

  it.each([
    ['without --append', []],
    ['with --append', ['--append', 'rows']],
  ])('serve ends at Ctrl-C with its closing status and exit code 0, %s', { timeout: 60_000 }, async (_, more) => {
    const { folder, path } = await store()
    const replica = start(['replica', join(folder, 'one'), '--id', 'r1'])
    const primary = start(['serve', path, '--replica', `r1=${(await replica.event('listening')).endpoint}`, ...more])
    while ((await primary.event('state')).to !== 'in_sync');
    if (more.length > 0) {
      primary.write(JSON.stringify({ id: '1', text: 'one' }))
      await primary.event('committed')
    }
    expect(await primary.interrupt()).toBe(0)
    expect(await primary.event('closing')).toMatchObject({ mode: 'async', replicas: [{ id: 'r1' }] })
    expect(await replica.interrupt()).toBe(0)
  })

  it('serve with --append waits for as many replicas as its mode does, says for whom, and takes the lines then', { timeout: 60_000 }, async () => {
    const { folder, path } = await store()
    const one = start(['replica', join(folder, 'one'), '--id', 'r1'])
    const named = ['--replica', `r1=${(await one.event('listening')).endpoint}`, '--replica', 'r2=127.0.0.1:1']
    const primary = start(['serve', path, ...named, '--ack', 'quorum', '--append', 'rows'])
    // Before anybody is reached.
    primary.write(JSON.stringify({ id: '1', text: 'one' }))
    primary.endInput()
    expect(await primary.event('committed')).toMatchObject({ line: 1 })
    expect(await primary.ended()).toBe(0)
    expect(primary.errors()).toContain('waiting for r1, r2: mode quorum')
    expect(await one.interrupt()).toBe(0)
    expect((await ok(['get', path, 'rows', '1'])).stdout).toContain('one')
  })

  it('serve that waits for replicas ends at Ctrl-C, and takes no line', { timeout: 60_000 }, async () => {
    const { path } = await store()
    const primary = start(['serve', path, '--replica', 'r1=127.0.0.1:1', '--ack', 'all', '--append', 'rows'])
    primary.write(JSON.stringify({ id: '1', text: 'one' }))
    await primary.event('serving')
    expect(await primary.interrupt()).toBe(0)
    expect(await primary.event('closing')).toMatchObject({ mode: 'all', inSync: 0 })
    expect((await cli(['get', path, 'rows', '1'])).stdout).not.toContain('one')
  })

  it.each([
    ['without --append', []],
    ['with --append, while it waits for replicas', ['--replica', 'r2=127.0.0.1:1', '--ack', 'all', '--append', 'rows']],
  ])('serve ends when another primary takes over, %s', { timeout: 60_000 }, async (_, more) => {
    const { folder, path } = await store()
    const replica = start(['replica', join(folder, 'one'), '--id', 'r1'])
    const { endpoint } = await replica.event('listening')
    const primary = start(['serve', path, '--replica', `r1=${endpoint}`, ...more])
    while ((await primary.event('state')).to !== 'in_sync');
    await fence(endpoint, { epoch: 50 })
    // stdin stays open.
    expect(await primary.ended()).toBe(2)
    expect(primary.errors()).toContain('another primary exists')
    expect(await replica.interrupt()).toBe(0)
  })

  it('serve says at once that a line was not committed, and takes no further one', { timeout: 60_000 }, async () => {
    const { folder, path } = await store()
    const replicas = ['r1', 'r2'].map((id) => start(['replica', join(folder, id), '--id', id]))
    const named = await Promise.all(replicas.map(async (replica, i) => `--replica=r${i + 1}=${(await replica.event('listening')).endpoint}`))
    const primary = start(['serve', path, ...named, '--ack', 'quorum', '--append', 'rows'])
    for (let i = 0; i < 2;) if ((await primary.event('state')).to === 'in_sync') i++
    primary.write(JSON.stringify({ id: '1', text: 'one' }))
    await primary.event('committed')
    expect(await Promise.all(replicas.map((replica) => replica.interrupt()))).toEqual([0, 0])
    for (let i = 0; i < 2;) if ((await primary.event('state')).from === 'in_sync') i++
    // stdin stays open.
    primary.write(JSON.stringify({ id: '2', text: 'two' }))
    expect(await primary.ended()).toBe(1)
    expect(primary.errors()).toContain('ship.ack-unavailable')
  })

  it('promote touches nothing where there is no replica of that name', { timeout: 60_000 }, async () => {
    const { folder, path } = await store()
    const one = join(folder, 'one')
    const replica = start(['replica', one, '--id', 'r1'])
    const primary = start(['serve', path, '--replica', `r1=${(await replica.event('listening')).endpoint}`])
    while ((await primary.event('state')).to !== 'in_sync');
    expect([await primary.interrupt(), await replica.interrupt()]).toEqual([0, 0])
    const before = await readdir(path, { recursive: true })
    for (const [place, id, what] of [
      [path, 'r1', /is a primary already[^]*hint:.*varve serve/],
      [join(folder, 'nowhere'), 'r1', /holds no replica/],
      [one, 'wrong', /is replica r1, not wrong \[ship\.replica-mismatch\]/],
    ] as const) {
      const result = await cli(['promote', place, '--id', id, '--accept-loss-above', '1'])
      expect([result.code, result.stderr]).toEqual([1, expect.stringMatching(what)])
    }
    expect((await readdir(folder)).toSorted()).toEqual(['one', 'store'])
    expect(await readdir(path, { recursive: true })).toEqual(before)
    expect((await ok(['promote', one, '--id', 'r1', '--accept-loss-above', '1'])).stdout).toContain('is a primary now')
    expect((await cli(['promote', one, '--id', 'r1'])).stderr).toContain('is a primary already')
  })

  it('say what they refuse, with an exit code and a hint', { timeout: 60_000 }, async () => {
    const { folder, path } = await store()
    await writeFile(join(folder, 'short'), 'abc')
    const file = join(folder, 'short')
    for (const [args, code, what] of [
      [['serve', path], 2, 'no replica'],
      [['serve', path, '--replica', 'nowhere'], 2, 'is not id=host:port'],
      [['serve', path, '--replica', 'r1=127.0.0.1:1', '--ack', 'most'], 2, 'no mode'],
      [['serve', path, '--replica', 'r1=127.0.0.1:1', '--ack', 'quorum', '--seconds', '1'], 1, 'ship.quorum-too-small'],
      [['serve', path, '--replica', 'r1=10.0.0.1:7701', '--seconds', '1'], 1, 'ship.invalid-endpoint'],
      [['serve', path, '--replica', 'r1=127.0.0.1:1', '--key-file', join(folder, 'short')], 2, 'holds no key'],
      [['replica', join(folder, 'one')], 2, 'a replica has a name'],
      [['replica', join(folder, 'one'), '--id', 'r 1'], 1, 'ship.invalid-replica-id'],
      [['replica', join(folder, 'one'), '--id', 'r1', '--listen', '0.0.0.0:0'], 1, 'ship.invalid-endpoint'],
      [['replica', file, '--id', 'r1'], 1, 'a file is in its way [options.invalid]'],
      [['replica', join(file, 'below'), '--id', 'r1'], 1, 'a file is in its way'],
      [['promote', join(file, 'below'), '--id', 'r1'], 1, 'holds no replica [store.not-a-store]'],
      [['serve', file, '--replica', 'r1=127.0.0.1:1'], 1, 'holds no varve store'],
      [['ship', 'sink'], 2, 'varve ship status'],
      [['promote', join(folder, 'none'), '--id', 'r1'], 1, 'holds no replica'],
    ] as const) {
      const result = await cli(args)
      expect([args.join(' '), result.code]).toEqual([args.join(' '), code])
      expect(result.stderr).toContain(what)
    }
  })
})
