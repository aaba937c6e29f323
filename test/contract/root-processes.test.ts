// What a local root promises between processes (roots.md section 5: cases 3 and 6, and a kill at any moment).
import { fork, type ChildProcess } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { DirRoot } from '../../bindings/root/index.ts'
import { defaultWorld, seededRandom } from '../../bindings/runtime/index.ts'
import { patterned } from '../../bindings/testing/index.ts'

const CHILD = new URL('./root-child.ts', import.meta.url)

let path: string
let children: ChildProcess[]

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'varve-root-'))
  children = []
})

afterEach(async () => {
  await Promise.all(children.map(stop))
  await rm(path, { recursive: true })
})

describe('a directory root between processes', () => {
  it('6 has one winner among 16 processes that create one name', async () => {
    const racers = await Promise.all(Array.from({ length: 16 }, start))
    const root = new DirRoot(path, defaultWorld())
    for (let round = 0; round < 100; round++) {
      const name = `race/${round % 3}/${round}`
      const statuses = await Promise.all(
        racers.map((racer, i) => ask(racer.child, { op: 'create', name, bytes: 500 + i, seed: round * 16 + i, sync: round % 10 === 0 })),
      )
      const winners = statuses.flatMap((status, i) => (status === 'created' ? [i] : []))
      expect(winners, `round ${round}: ${statuses.join()}`).toHaveLength(1)
      expect((await root.get(name)).bytes).toEqual(patterned(500 + winners[0]!, round * 16 + winners[0]!))
    }
  })

  it('3 shows a resolved create-if-absent to another process at once', async () => {
    const { child } = await start()
    const root = new DirRoot(path, defaultWorld())
    for (let round = 0; round < 210; round++) {
      const bytes = round < 200 ? 8192 : 8 << 20
      expect(await ask(child, { op: 'create', name: `o/${round}`, bytes, seed: round, sync: round % 4 === 0 })).toBe('created')
      const found = (await root.get(`o/${round}`)).bytes
      expect(Buffer.compare(found, patterned(bytes, round)), `round ${round}`).toBe(0)
    }
  })

  it('sees through a held object that another process replaced it', async () => {
    const { child } = await start()
    const root = new DirRoot(path, defaultWorld())
    await root.putIfAbsent('LOCK.1', new Uint8Array([1]))
    const held = await root.hold('LOCK.1')
    expect(held.isCurrent()).toBe(true)
    await ask(child, { op: 'replace', name: 'LOCK.1' })
    expect(held.isCurrent()).toBe(false)
    await held.close()
  })

  it('shows whole versions only, whenever the writer is killed', async () => {
    const random = seededRandom(42)
    const root = new DirRoot(path, defaultWorld())
    for (let round = 0; round < 8; round++) {
      const { child } = await start()
      child.send({ op: 'churn' })
      const untilMs = performance.now() + 40 + (random.u32() % 80)
      let reads = 0
      while (performance.now() < untilMs) {
        for await (const { name } of root.list('churn')) reads += await isWhole(root, name)
      }
      await stop(child)
      for await (const { name } of root.list('churn')) reads += await isWhole(root, name)
      expect(reads).toBeGreaterThan(0)
    }
    await root.deletePrefix('churn')
    expect(await readdir(path)).toEqual([])
  })

  it('knows a live process, a killed one and another of the same id', async () => {
    const { host } = defaultWorld()
    const { child, pid, processStartTime } = await start()
    expect(host.isAlive(pid, processStartTime)).toBe(true)
    expect(host.isAlive(pid, `${Number(processStartTime) + 1}`)).toBe(false)
    await stop(child)
    expect(host.isAlive(pid, processStartTime)).toBe(false)
    expect(host.isAlive(host.pid, host.processStartTime)).toBe(true)
  })
})

/** 1 when read, 0 when it went meanwhile. */
async function isWhole(root: DirRoot, name: string): Promise<number> {
  try {
    const { bytes } = await root.get(name)
    expect(bytes.length).toBe(20_000 + ((bytes.length / 1000) % 5) * 1000)
    expect(
      bytes.every((byte) => byte === bytes[0]),
      `${name} is one version`,
    ).toBe(true)
    return 1
  } catch (error) {
    expect(error).toMatchObject({ class: 'notFound' })
    return 0
  }
}

async function start(): Promise<{ child: ChildProcess; pid: number; processStartTime: string }> {
  const child = fork(CHILD, [path], { execArgv: [] })
  children.push(child)
  const hello = (await reply(child)) as { pid: number; processStartTime: string }
  return { child, ...hello }
}

async function ask(child: ChildProcess, request: object): Promise<unknown> {
  const answered = reply(child)
  child.send(request)
  return answered
}

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null): void => reject(new Error(`the child ended with ${code}`))
    child.once('exit', ended)
    child.once('message', (message) => {
      child.off('exit', ended)
      resolve(message)
    })
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}
