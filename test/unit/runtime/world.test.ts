import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { defaultWorld, fillWorld, Mutex, nodeFiles, seededRandom, soon, systemRandom, systemTimers } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'

describe('world', () => {
  it('is one per process and is filled from what is given', () => {
    expect(defaultWorld()).toBe(defaultWorld())
    expect(fillWorld()).toBe(defaultWorld())
    const { clock } = new FakeClock()
    const world = fillWorld({ clock })
    expect(world.clock).toBe(clock)
    expect(world.files).toBe(defaultWorld().files)
  })

  it('ignores a logger that throws', () => {
    const world = fillWorld({
      logger: {
        log: () => {
          throw new Error('full')
        },
      },
    })
    expect(() => world.logger.log({ level: 'warn', code: 'x' })).not.toThrow()
  })

  it('knows its host', () => {
    const { host } = defaultWorld()
    expect(host.pid).toBe(process.pid)
    expect(host.bootId.length).toBeGreaterThan(8)
    expect(host.isAlive(host.pid, host.processStartTime)).toBe(true)
    expect(host.isAlive(host.pid, '')).toBeUndefined()
    expect(host.isAlive(-1, '1')).toBeUndefined()
    expect(host.isAlive(2 ** 30, '1')).toBe(false)
  })

  it('sleeps, wakes on abort and answers in order', async () => {
    await systemTimers.sleep(1, undefined, true)
    const controller = new AbortController()
    const sleeping = systemTimers.sleep(60_000, controller.signal)
    controller.abort()
    await expect(sleeping).rejects.toMatchObject({ name: 'AbortError' })
    await expect(systemTimers.sleep(1, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' })
    const order: number[] = []
    await new Promise<void>((resolve) => {
      soon(() => order.push(1))
      soon(() => {
        order.push(2)
        resolve()
      })
      order.push(0)
    })
    expect(order).toEqual([0, 1, 2])
    const handle = systemTimers.set(1, () => order.push(9))
    systemTimers.clear(handle)
    await systemTimers.sleep(5, undefined, true)
    expect(order).toEqual([0, 1, 2])
  })
})

describe('random', () => {
  it('never gives the same bytes twice, of any length', () => {
    const random = systemRandom()
    const seen = new Set<string>()
    for (const n of [8, 16, 1000, 1024, 1025, 4096, 70_000]) {
      for (let i = 0; i < 20; i++) {
        const bytes = random.bytes(n)
        expect(bytes.length).toBe(n)
        seen.add(Buffer.from(bytes.subarray(n - 8)).toString('hex'))
      }
    }
    expect(seen.size).toBe(140)
    expect(new Set(Array.from({ length: 5000 }, () => random.u32())).size).toBeGreaterThan(4990)
  })

  it('repeats from a seed', () => {
    expect(seededRandom(5).bytes(64)).toEqual(seededRandom(5).bytes(64))
    expect(seededRandom(5).bytes(64)).not.toEqual(seededRandom(6).bytes(64))
    const counts = new Uint32Array(16)
    const random = seededRandom(9)
    for (let i = 0; i < 16_000; i++) counts[random.u32() % 16]!++
    for (const count of counts) expect(count).toBeGreaterThan(850)
  })
})

describe('mutex', () => {
  it('lets one in at a time, in order, also after errors', async () => {
    const mutex = new Mutex()
    const order: number[] = []
    let inside = 0
    const runs = Array.from({ length: 10 }, (_, i) =>
      mutex.run(async () => {
        expect(++inside).toBe(1)
        await new Promise<void>((resolve) => soon(resolve))
        order.push(i)
        inside--
        if (i === 3) throw new Error('three')
      }),
    )
    const settled = await Promise.allSettled(runs)
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(settled.map(({ status }) => status).filter((status) => status === 'rejected')).toHaveLength(1)
    expect(mutex.busy).toBe(false)
    const release = await mutex.acquire()
    expect(mutex.busy).toBe(true)
    release()
    release()
    expect(mutex.busy).toBe(false)
  })
})

describe('fake clock', () => {
  it('fires timers in order of their time and leaves the rest', async () => {
    const time = new FakeClock(1000)
    const fired: string[] = []
    time.timers.set(20, () => fired.push(`b at ${time.clock.monoMs()}`))
    time.timers.set(10, () => {
      fired.push(`a at ${time.clock.monoMs()}`)
      time.timers.set(5, () => fired.push(`c at ${time.clock.monoMs()}`))
    })
    const gone = time.timers.set(1, () => fired.push('never'))
    time.timers.clear(gone)
    time.timers.set(100, () => fired.push('late'))
    await time.advance(30)
    expect(fired).toEqual(['a at 10', 'c at 15', 'b at 20'])
    expect(time.clock.nowMs()).toBe(1030)
    time.step(-500)
    expect([time.clock.nowMs(), time.clock.monoMs(), time.pending]).toEqual([530, 30, 1])
  })
})

describe('node files', () => {
  it('reads, writes, syncs and names the errors', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'varve-files-'))
    try {
      const path = `${dir}/f`
      await expect(nodeFiles.open(path, 'r')).rejects.toMatchObject({ code: 'ENOENT' })
      const handle = await nodeFiles.open(path, 'wx')
      await expect(nodeFiles.open(path, 'wx')).rejects.toMatchObject({ code: 'EEXIST' })
      const large = new Uint8Array(3_000_000).map((_, i) => i)
      await new Promise<void>((resolve, reject) => handle.write(10, large, (error) => (error === null ? resolve() : reject(error))))
      await new Promise<void>((resolve, reject) => handle.datasync((error) => (error === null ? resolve() : reject(error))))
      handle.writeSync(0, new Uint8Array(10).fill(7))
      handle.datasyncSync()
      await handle.sync()
      const into = new Uint8Array(3_000_020)
      expect(await handle.read(0, into)).toBe(3_000_010)
      expect(Buffer.compare(into.subarray(10, 3_000_010), large)).toBe(0)
      expect(handle.readSync(3_000_005, into)).toBe(5)
      expect((await handle.stat()).size).toBe(3_000_010)
      await handle.truncate(100)
      handle.truncateSync(50)
      expect(handle.statSync().size).toBe(50)
      await nodeFiles.link(path, `${dir}/g`)
      expect(nodeFiles.statSync(`${dir}/g`)).toMatchObject({ identity: handle.statSync().identity, links: 2, isDirectory: false })
      nodeFiles.renameSync(`${dir}/g`, `${dir}/h`)
      await nodeFiles.mkdir(`${dir}/d`)
      expect([...(await nodeFiles.readdir(dir))].sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
        { name: 'd', isDirectory: true },
        { name: 'f', isDirectory: false },
        { name: 'h', isDirectory: false },
      ])
      await nodeFiles.syncDir(dir)
      nodeFiles.syncDirSync(dir)
      await nodeFiles.rmdir(`${dir}/d`)
      nodeFiles.unlinkSync(`${dir}/h`)
      await nodeFiles.unlink(path)
      await handle.close()
      await handle.close()
      expect(() => handle.writeSync(0, large)).toThrow(expect.objectContaining({ code: 'EBADF' }))
      await expect(handle.read(0, into)).rejects.toMatchObject({ code: 'EBADF' })
      await expect(new Promise((_, reject) => handle.datasync((error) => reject(error)))).rejects.toMatchObject({ code: 'EBADF' })
    } finally {
      await rm(dir, { recursive: true })
    }
  })

  it('closes a handle only when the calls under way have ended', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'varve-files-'))
    try {
      const handle = await nodeFiles.open(`${dir}/f`, 'wx')
      const order: string[] = []
      handle.write(0, new Uint8Array(5_000_000), (error) => order.push(`written ${error}`))
      expect(() => handle.closeSync()).toThrow(expect.objectContaining({ code: 'EBUSY' }))
      await Promise.all([handle.close(), handle.close()])
      order.push('closed')
      expect(order).toEqual(['written null', 'closed'])
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})
