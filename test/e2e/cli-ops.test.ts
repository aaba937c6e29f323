// e2e/cli-ops.test.ts: backup, restore, stats and top as processes of their own, beside a writer.
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { drawn } from '../../bindings/cli/frames.ts'
import { Store, t, table } from '../../bindings/index.ts'
import { cli, ok, startCli, tempFolder } from './cli-run.ts'

const rows = table('rows', { id: t.int64(), text: t.utf8() }, { key: ['id'], index: ['text'] })

async function written(): Promise<{ path: string; store: Store; folder: string }> {
  const folder = await tempFolder()
  const path = join(folder, 'store')
  const store = await Store.open(path, { inlineLimitBytes: 4096, upkeep: 'manual', threads: 0 })
  await store.create(rows)
  await store.append(
    rows,
    Array.from({ length: 2000 }, (_, i) => ({ id: BigInt(i), text: `row ${i}` })),
  )
  return { path, store, folder }
}

describe('varve backup and varve restore', () => {
  it('copy a store that is written to, add to the copy, and make a store of it as it was', async () => {
    const { path, store, folder } = await written()
    const [backup, to] = [join(folder, 'backup'), join(folder, 'restored')]
    const before = store.lsn
    const first = await ok(['backup', path, backup])
    expect(first.stdout).toContain(`up to LSN ${before}`)
    expect(first.stdout).toMatch(/copied +\d+ files, /)
    await store.append(rows, { id: 9999n, text: 'late' })
    const second = (await ok(['backup', path, backup, '--json'])).json()
    expect(second).toMatchObject({ lsn: String(store.lsn), copied: 1, pending: [], pendingLost: [], digest: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect((await ok(['verify', backup])).stdout).toMatch(/^ok: /)
    expect((await ok(['verify', path, '--against', backup])).stdout).toMatch(/^ok: /)
    const restored = (await ok(['restore', backup, to, '--at', String(before), '--json'])).json()
    expect(restored).toMatchObject({ lsn: String(before) })
    expect((await ok(['get', to, 'rows', '7'])).stdout).toContain('row 7')
    expect((await cli(['get', to, 'rows', '9999'])).code).toBe(1)
    expect((await ok(['stats', to, '--json'])).json()).toMatchObject({ id: store.id })
    const twin = join(folder, 'twin')
    await ok(['restore', backup, twin, '--new-id'])
    expect((await ok(['stats', twin, '--json'])).json().id).not.toBe(store.id)
    await store.close()
    // From the first epoch of its own on it is another history.
    await ok(['init', join(folder, 'other')])
    const parted = await cli(['verify', path, '--against', join(folder, 'other'), '--json'])
    expect([parted.code, JSON.parse(parted.stdout)]).toMatchObject([3, { ok: false, problems: [{ code: 'backup.mismatch', lsn: '1' }] }])
  })

  it('say what they refuse, with an exit code and a hint', async () => {
    const { path, store, folder } = await written()
    const backup = join(folder, 'backup')
    await ok(['backup', path, backup])
    await store.close()
    for (const [args, code, what] of [
      [['backup', join(folder, 'none'), backup], 1, 'store.not-a-store'],
      [['backup', path, path], 1, 'store.exists'],
      [['restore', backup, path], 1, 'store.exists'],
      [['restore', join(folder, 'none'), join(folder, 'x')], 1, 'store.not-a-store'],
      [['restore', backup, join(folder, 'y'), '--at', '99999'], 1, 'store.history-unavailable'],
      [['restore', backup, join(folder, 'z'), '--at', '2026-99-99'], 2, 'cli.usage'],
      [['init', backup], 1, 'store.exists'],
      [['repair', backup, '--confirm'], 1, 'store.read-only'],
    ] as const) {
      const result = await cli([...args, '--json'])
      expect([args.join(' '), result.code, JSON.parse(result.stderr)]).toMatchObject([
        args.join(' '),
        code,
        { error: { code: what, hint: expect.stringMatching(/\w/) } },
      ])
    }
    expect(await readdir(folder)).toEqual(['backup', 'store'])
  })
})

describe('after a vacuum', () => {
  it('varve log begins at the floor, and says where that is to one who asks for more', async () => {
    const { path, store } = await written()
    await store.replace(rows, [
      { id: 3n, text: 'newer' },
      { id: 4n, text: 'newer' },
    ])
    await store.upsert(rows, { id: 3n, text: 'newest' })
    const kept = store.lsn
    const { floor } = await store.vacuum({ keep: { versions: 1 } })
    expect(Number(floor)).toBeGreaterThan(0)
    await store.upsert(rows, { id: 4n, text: 'later' }, { message: 'after it' })
    await store.close()
    const shown = (await ok(['log', path, '--json'])).lines() as { lsn: string; message?: string }[]
    expect(shown[0]).toMatchObject({ message: 'after it' })
    for (const { lsn } of shown) expect(Number(lsn)).toBeGreaterThan(Number(floor))
    expect(floor).toBeLessThanOrEqual(kept)
    expect((await ok(['stats', path, '--json'])).json()).toMatchObject({ log: { floor: String(floor) } })
    expect((await ok(['stats', path])).stdout).toContain(`LSN ${floor}`)
    const asked = await cli(['log', path, '--from', '0', '--json'])
    expect([asked.code, JSON.parse(asked.stderr)]).toMatchObject([
      1,
      { error: { code: 'store.history-unavailable', details: { floor: String(floor) }, hint: expect.stringMatching(/\w/) } },
    ])
    expect((await ok(['audit', path])).stdout).toContain('vacuum')
  })

  it('varve log shows the history of a branch', async () => {
    const { path, store } = await written()
    const dev = await store.branch('dev')
    const { lsn } = await dev.upsert(rows, { id: 3n, text: 'of dev' })
    await store.upsert(rows, { id: 3n, text: 'of main' })
    await store.close()
    const shown = (await ok(['log', path, '--branch', 'dev', '--table', 'rows', '--json'])).lines() as { lsn: string; branch: string }[]
    expect(shown[0]).toMatchObject({ lsn: String(lsn), branch: 'dev' })
    expect((await cli(['log', path, '--branch', 'nope'])).stderr).toContain('no branch "nope"')
  })
})

describe('varve stats and varve top', () => {
  it('stats: log, commits, tables and coverage', async () => {
    const { path, store } = await written()
    for (let i = 0; i < 5; i++) await store.append(rows, { id: BigInt(10_000 + i), text: 'x' })
    const { stdout } = await ok(['stats', path])
    expect(stdout).toMatch(/commits +\d+\.\d+\/s over 60\.0 s/)
    expect(stdout).toMatch(/^rows +2,005 +5 +1 /m)
    expect((await ok(['stats', path, '--json'])).json()).toMatchObject({
      commits: { count: 6 },
      tables: { rows: { rows: 2005, coverage: { text: { share: 0 } } } },
    })
    await store.close()
  })

  it('top: one frame, plain where stdout is no terminal', async () => {
    const { path, store } = await written()
    const { stdout } = await ok(['top', path, '--once'])
    expect(stdout).toContain(store.id)
    expect(stdout).toMatch(/^rows +2,000 /m)
    expect(stdout).not.toContain('\u001B')
    await store.close()
  })

  it('top: frame after frame follows the writer of another process, with rates between two looks', async () => {
    const { path, store } = await written()
    const child = startCli(['top', path, '--interval', '100', '--count', '200', '--json'])
    const seen: { lsn: string; tables: { rows: { rows: number } } }[] = []
    let rest = ''
    let n = 0
    child.stdout.setEncoding('utf8')
    for await (const chunk of child.stdout) {
      const lines = `${rest}${String(chunk)}`.split('\n')
      rest = lines.pop()!
      for (const line of lines) seen.push(JSON.parse(line) as never)
      if (seen.at(-1)?.tables.rows.rows === 2003) break
      if (seen.length > n && n < 3) await store.append(rows, { id: BigInt(50_000 + n++), text: 'new' })
    }
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
    expect(seen.length).toBeGreaterThanOrEqual(4)
    expect(seen.at(-1)!.tables.rows.rows).toBe(2003)
    expect(seen.at(-1)!.lsn).toBe(String(store.lsn))
    await store.close()
  })

  it('top: plain frames have rates from the second on', async () => {
    const { path, store } = await written()
    const { stdout } = await ok(['top', path, '--interval', '50', '--count', '2'])
    const frames = stdout.split('\n\nstore')
    expect(frames).toHaveLength(2)
    expect(frames[0]).toMatch(/^head +LSN \d+$/m)
    expect(frames[1]).toMatch(/^head +LSN \d+ {2}0\/s$/m)
    await store.close()
  })

  it('top: what is drawn fits the terminal and leaves nothing of the frame before', () => {
    const text = drawn(['a'.repeat(50), 'b', 'c', 'd'], 4, 10)
    expect(text).toBe(`\u001B[H${'a'.repeat(9)}\u001B[K\nb\u001B[K\nc\u001B[K\n\u001B[J`)
  })
})
