// Recovery of recovery (log.md section 8): a segment log on fake files that is killed, cut off or lied to at any call, also while it recovers.
//
// Each seed is a few lives of one store. A life ends by a clean close, a kill, a power cut that keeps any legal subset of what was not synced, or a failed
// sync or write. Expected: every open that is not itself stopped succeeds, holds everything that was durable with the digest it had, and invents nothing.
// VARVE_LOG_SEEDS=100000 runs more.
import { describe, expect, it } from 'vitest'

import { type CommitLog, type Digest, lsn, type Lsn, openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { seededRandom, soon, type World } from '../../bindings/runtime/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'

const SEEDS = Number(process.env['VARVE_LOG_SEEDS'] ?? 2000)
const STORE_ID = new Uint8Array(16).fill(3)
const LIVES = 5

interface Known {
  readonly lsn: Lsn
  readonly digest: Digest
}

class Machine {
  readonly clock = new FakeClock()
  readonly random: World['random']
  readonly durability: 'synced' | 'buffered'
  readonly segmentBytes: number
  files = new FakeFiles()
  boot = 1
  pid = 1
  nextId = 0
  /** Survives a power cut. */
  durable: Known = { lsn: lsn(0), digest: new Uint8Array(32) as Digest }
  /** Survives a kill. */
  acknowledged = lsn(0)
  floors: Known[] = []
  readonly trace: string[] = []

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.durability = this.below(2) === 0 ? 'synced' : 'buffered'
    this.segmentBytes = [4096, 8192, 32768][this.below(3)]!
  }

  below(n: number): number {
    return this.random.u32() % n
  }

  world(): World {
    const pid = ++this.pid
    const boot = `boot-${this.boot}`
    const alive = (other: number) => other === this.pid
    return fakeWorld({ files: this.files, seed: this.random.u32(), clock: this.clock, host: { pid, bootId: boot, isAlive: alive } })
  }

  async open(readOnly = false): Promise<CommitLog> {
    const world = this.world()
    const opening = openSegmentLog(new DirRoot('/data/store', world), {
      world,
      storeId: STORE_ID,
      durability: this.durability,
      segmentBytes: this.segmentBytes,
      bufferedSyncMs: 20,
      floors: this.floors,
      readOnly,
      follow: false,
    })
    let settled = false
    opening.then(
      () => (settled = true),
      () => (settled = true),
    )
    while (!settled) await this.clock.advance(50)
    return opening
  }

  /** The machine stops; what was not synced may be lost. */
  powerCut(): void {
    this.files = this.files.crash(this.random.u32())
    this.boot++
    this.acknowledged = this.durable.lsn
    this.trace.push('power cut')
  }

  kill(): void {
    this.files = this.files.restart()
    this.trace.push('kill')
  }
}

describe('recovery of recovery', () => {
  const chunks = 8
  for (let chunk = 0; chunk < chunks; chunk++) {
    it(`seeds ${chunk} mod ${chunks} of ${SEEDS}`, { timeout: SEEDS * 100 + 60_000 }, async () => {
      for (let seed = chunk; seed < SEEDS; seed += chunks) await story(seed)
    })
  }
})

async function story(seed: number): Promise<void> {
  const machine = new Machine(seed)
  try {
    for (let life = 0; life < LIVES; life++) await live(machine)
    machine.files.plan(undefined)
    await (await opened(machine))!.close()
  } catch (error) {
    throw new Error(`seed ${seed} (${machine.durability}, ${machine.segmentBytes}): ${machine.trace.join(' > ')}`, { cause: error })
  }
}

async function live(machine: Machine): Promise<void> {
  // Half of the lives end somewhere in the open or soon behind it.
  if (machine.below(4) > 0) machine.files.stopAt(1 + machine.below(machine.below(2) === 0 ? 60 : 500))
  else if (machine.below(2) === 0) injectFault(machine)
  const log = await opened(machine)
  if (log !== undefined) await work(machine, log)
  machine.files.plan(undefined)
  if (machine.files.stopped || machine.below(2) === 0) {
    if (machine.below(3) > 0) machine.powerCut()
    else machine.kill()
  }
}

function injectFault(machine: Machine): void {
  const op = machine.below(3) === 0 ? 'write' : 'datasync'
  const effect = (['none', 'half', 'whole'] as const)[machine.below(3)]!
  machine.files.failAt(1 + machine.below(40), { error: 'EIO', effect }, (call) => call.op === op && call.path.includes('/log/'))
  machine.trace.push(`fault in ${op} (${effect})`)
}

/** Opens and compares; undefined when the machine stopped meanwhile or a fault was met. */
async function opened(machine: Machine): Promise<CommitLog | undefined> {
  const calls = machine.files.calls.length
  let log: CommitLog
  try {
    log = await machine.open()
  } catch (error) {
    machine.trace.push(`open failed after ${machine.files.calls.length - calls} calls`)
    if (machine.files.stopped || isFault(error)) return undefined
    throw error
  }
  machine.trace.push(`open at ${log.head}`)
  await compare(machine, log)
  return log
}

async function compare(machine: Machine, log: CommitLog): Promise<void> {
  try {
    expect(log.head).toBeGreaterThan(machine.acknowledged)
    if (machine.durable.lsn >= log.tail) expect(await log.digestAt(machine.durable.lsn), `digest at ${machine.durable.lsn}`).toEqual(machine.durable.digest)
    const ids = idsOf(await readAll(log, log.tail))
    expect(ids, 'records ascend').toEqual([...ids].sort((a, b) => a - b))
    // What an open has seen, it has also written again and synced.
    machine.durable = { lsn: log.head, digest: await log.digestAt(log.head) }
    machine.acknowledged = log.head
    machine.trace.push('compared')
  } catch (error) {
    if (!machine.files.stopped && !isFault(error)) throw error
  }
}

async function work(machine: Machine, log: CommitLog): Promise<void> {
  try {
    for (let step = machine.below(30); step > 0 && !machine.files.stopped; step--) {
      const kind = machine.below(20)
      if (kind < 14) await burst(machine, log)
      else if (kind < 16) await advanced(machine, log.sync())
      else if (kind < 17) await machine.clock.advance(25)
      else if (kind < 19) await trim(machine, log)
      else await readAll(log, log.tail)
      await remember(machine, log)
    }
    if (machine.below(3) === 0) {
      const head = log.head
      const digest = await log.digestAt(head)
      await log.close()
      machine.durable = { lsn: head, digest }
      machine.acknowledged = head
      machine.trace.push(`closed at ${head}`)
    } else machine.trace.push(`left at ${log.head}`)
  } catch (error) {
    if (!machine.files.stopped && !isFault(error)) throw error
    machine.trace.push('stopped')
    // Poison: the same process gives the handle up.
    if (!machine.files.stopped) await log.close().catch(() => {})
  }
  // A handle that is left open is that of a process that dies now.
}

async function burst(machine: Machine, log: CommitLog): Promise<void> {
  const appends: Promise<unknown>[] = []
  for (let n = 1 + machine.below(6); n > 0; n--) {
    const records = Array.from({ length: 1 + machine.below(4) }, () => record(machine.nextId++))
    if (machine.below(12) === 0) records.push({ kind: 2, payload: bulky(machine) })
    appends.push(log.append(records).then(({ last }) => void (machine.acknowledged = last)))
  }
  const all = Promise.all(appends)
  all.catch(() => {})
  if (machine.below(3) === 0) await new Promise<void>((resolve) => soon(resolve))
  else await all
}

function bulky(machine: Machine): Uint8Array {
  const payload = new Uint8Array(machine.below(20_000) + 4)
  new DataView(payload.buffer).setUint32(0, machine.nextId++, true)
  return payload
}

async function trim(machine: Machine, log: CommitLog): Promise<void> {
  const wanted = log.durableHead - BigInt(machine.below(20))
  const at = lsn(wanted > log.tail ? wanted : log.tail)
  machine.floors = [{ lsn: at, digest: await log.digestAt(at) }]
  await log.trim(at)
}

async function remember(machine: Machine, log: CommitLog): Promise<void> {
  const at = log.durableHead
  if (at > machine.durable.lsn) machine.durable = { lsn: at, digest: await log.digestAt(at) }
}

async function advanced<T>(machine: Machine, promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  await machine.clock.advance(1)
  return promise
}

function isFault(error: unknown): boolean {
  for (let cause = error as { code?: unknown; cause?: unknown } | undefined; cause !== undefined && cause !== null; cause = cause.cause as never) {
    if (cause.code === 'EIO') return true
  }
  return false
}
