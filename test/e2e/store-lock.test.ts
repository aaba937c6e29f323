// One writer at a time, between processes: who is refused, who takes over, and what a writer that was overtaken may still do.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { forceUnlock, LockHeldError, lockInfo, OpenLockTimeoutError, Store } from '../../bindings/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { singleRow, singles } from '../crash/plan.ts'

const OWNER = fileURLToPath(new URL('../crash/owner.ts', import.meta.url))

/** A process with its answers. */
class Owner {
  readonly process: ChildProcess
  readonly lines: string[] = []
  private waiting: (() => void)[] = []
  private rest = ''
  readonly ended: Promise<void>

  constructor(directory: string, ...args: string[]) {
    this.process = spawn(process.execPath, [OWNER, directory, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.rest + text).split('\n')
      this.rest = lines.pop()!
      this.lines.push(...lines)
      for (const wake of this.waiting.splice(0)) wake()
    })
    this.ended = new Promise((resolve) => {
      this.process.on('close', () => {
        resolve()
        for (const wake of this.waiting.splice(0)) wake()
      })
    })
  }

  get pid(): number {
    return this.process.pid!
  }

  say(line: string): void {
    this.process.stdin!.write(`${line}\n`)
  }

  /** The first line that passes. */
  async until(test: (line: string) => boolean): Promise<string> {
    for (;;) {
      const found = this.lines.find(test)
      if (found !== undefined) return found
      if (this.process.exitCode !== null || this.process.signalCode !== null) throw new Error(`ended; it said ${JSON.stringify(this.lines)}`)
      await new Promise<void>((resolve) => this.waiting.push(resolve))
    }
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.ended
  }
}

let directory: string
const owners: Owner[] = []
const owner = (...args: string[]): Owner => {
  const made = new Owner(directory, ...args)
  owners.push(made)
  return made
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'varve-lock-'))
})
afterEach(async () => {
  for (const each of owners.splice(0)) await each.kill()
  await rm(directory, { recursive: true, force: true })
})

describe('the LOCK of a store', () => {
  it('refuses a second open in the same process and names this one', async () => {
    const store = await Store.open(directory)
    const once = await Store.open(directory, { openRetry: { delaysMs: [] } }).catch((error: unknown) => error as LockHeldError)
    expect(once).toBeInstanceOf(LockHeldError)
    expect(once).toMatchObject({ code: 'lock.held', holder: { pid: process.pid } })
    expect((once as Error).message).toContain(String(process.pid))
    const retried = await Store.open(directory, { openRetry: { delaysMs: [1, 1] } }).catch((error: unknown) => error as OpenLockTimeoutError)
    expect(retried).toBeInstanceOf(OpenLockTimeoutError)
    expect((retried as Error).message).toContain(String(process.pid))
    // Refused opens left nothing behind: the owner goes on, readers come in.
    await store.create(singles)
    await store.upsert(singles, singleRow(1))
    const reader = await Store.open(directory, { readOnly: true })
    expect(await reader.scan(singles).count()).toBe(1)
    await reader.close()
    await store.close()
    await (await Store.open(directory, { openRetry: { delaysMs: [] } })).close()
  })

  it('refuses a second process and names the first', async () => {
    const first = owner()
    await first.until((line) => line === 'open')
    await expect(Store.open(directory, { openRetry: { delaysMs: [] } })).rejects.toMatchObject({ code: 'lock.held', holder: { pid: first.pid } })
    const second = owner('once')
    expect(await second.until((line) => line.startsWith('e open'))).toBe(`e open lock.held ${first.pid}`)
    const third = owner()
    expect(await third.until((line) => line.startsWith('e open'))).toMatch(new RegExp(`^e open lock\\..* ${first.pid}$`))
    expect(await lockInfo(directory)).toMatchObject({ state: 'held', alive: true, holder: { pid: first.pid } })
    await expect(forceUnlock(directory)).rejects.toBeInstanceOf(LockHeldError)
    first.say('commit 1')
    await first.until((line) => line.startsWith('a 1 '))
    first.say('close')
    await first.until((line) => line === 'closed')
    const next = await Store.open(directory, { openRetry: { delaysMs: [] } })
    expect(await next.get(singles, { n: 1 } as never)).toEqual(singleRow(1))
    await next.close()
  })

  it('is taken over from a killed owner by the second attempt, with a higher epoch and every acknowledged commit', async () => {
    const first = owner()
    await first.until((line) => line === 'open')
    first.say('burst 1 200')
    await first.until((line) => line.startsWith('a 200 '))
    await first.kill()
    await expect(Store.open(directory, { openRetry: { delaysMs: [] } })).rejects.toMatchObject({ code: 'lock.held', holder: { pid: first.pid } })
    const store = await Store.open(directory)
    expect(store.epoch).toBe(2n)
    expect(await store.scan(singles).count()).toBe(200)
    await store.close()
  })

  it.each(['a 1 ', 'a 100 ', 'a 250 '])(
    'leaves an owner that was overtaken while it stood still (after %s) with FencedError, and nothing of it acknowledged',
    async (moment) => {
      const first = owner()
      await first.until((line) => line === 'open')
      first.say('commit 1')
      await first.until((line) => line.startsWith('a 1 '))
      first.say('burst 100 400')
      await first.until((line) => line.startsWith(moment))
      first.process.kill('SIGSTOP')
      // For this opener the machine has booted since: then the owner is provably dead, whatever runs under its number.
      const world = { host: { ...defaultWorld().host, bootId: 'another boot' } }
      const store = await Store.open(directory, { world, openRetry: { delaysMs: [10] } })
      const recovered = (await store.scan(singles).toArray()) as { n: number }[]
      for (let n = 1000; n < 1010; n++) await store.upsert(singles, singleRow(n))
      const stopped = first.lines.length
      first.process.kill('SIGCONT')
      await first.until((line) => line.startsWith('e ') || line.startsWith('a 499 '))
      first.say('commit 5000')
      await first.until((line) => line.startsWith('e 5000 ') || line.startsWith('a 5000 '))
      // The successor's answer is the truth: what it did not find was not acknowledged, before or after.
      const found = new Set(recovered.map(({ n }) => n))
      const acknowledged = first.lines.filter((line) => line.startsWith('a ')).map((line) => Number(line.split(' ')[1]))
      expect(
        acknowledged.filter((n) => !found.has(n)),
        `it had said ${stopped} lines when it was stopped`,
      ).toEqual([])
      expect(acknowledged).not.toContain(5000)
      expect(first.lines).toContain('e 5000 log.fenced')
      first.say('close')
      await first.until((line) => line === 'closed' || line.startsWith('e close'))
      await store.upsert(singles, singleRow(1010))
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      await store.close()
      const again = await Store.open(directory)
      const rows = ((await again.scan(singles).toArray()) as { n: number }[]).map(({ n }) => n)
      expect(rows.toSorted((a, b) => a - b)).toEqual([...found, ...Array.from({ length: 11 }, (_, i) => 1000 + i)].toSorted((a, b) => a - b))
      await again.close()
    },
  )
})
