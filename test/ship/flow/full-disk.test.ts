// A replica whose disk is full, or fails, in its log, its files, its NODE or a base on its way: what it says, what counts meanwhile, and how it goes on.
import { describe, expect, it, onTestFinished } from 'vitest'

import type { Root } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import type { Shipping, ShippingStatus } from '../../../bindings/store/index.ts'
import { FaultyRoot, type RootMethod } from '../../../bindings/testing/index.ts'
import { bootWorld } from '../replica/kit.ts'
import { Flow, type Net, until } from './flow-kit.ts'

type Fault = 'space' | 'io'
const WRITES: readonly RootMethod[] = ['put', 'putIfAbsent', 'putLarge', 'link', 'rename', 'segment', 'segment.write', 'segment.datasync']

function memory(): Net & { readonly network: MemoryNetwork } {
  const network = new MemoryNetwork(defaultWorld())
  return { network, transport: (node) => network.transport(node), place: (node) => ({ data: node, version: 1 }) }
}

/** A disk that takes nothing under a name, until there is space again. */
class Disk {
  readonly inner: MemoryRoot = new MemoryRoot({ loseUnsynced: 1 })
  readonly root: FaultyRoot = new FaultyRoot(this.inner)
  struck = 0

  fails(error: Fault, prefix: string, methods: readonly RootMethod[] = WRITES): void {
    this.root.plan(({ method, name }) => {
      if (!methods.includes(method) || !name.startsWith(prefix)) return undefined
      this.struck++
      return { error }
    })
  }

  works(): void {
    this.root.plan(undefined)
  }
}

const of = (shipping: Shipping, id: string): ShippingStatus['replicas'][number] => shipping.status().replicas.find((each) => each.id === id)!

/** A primary that waits for all, and two replicas in sync, one of them on that disk. */
async function waiting(): Promise<{ readonly net: ReturnType<typeof memory>; readonly flow: Flow; readonly disk: Disk; readonly shipping: Shipping }> {
  const [net, disk] = [memory(), new Disk()]
  const flow = await Flow.open(net, new MemoryRoot({}), { segmentBytes: 64 * 1024, upkeep: 'manual' })
  await flow.replica('r1', disk.root as Root, { world: bootWorld() })
  await flow.replica('r2', new MemoryRoot({}))
  const shipping = await flow.ship({ ack: 'all', ackTimeoutMs: 60_000 })
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  await flow.write(20)
  await flow.equal()
  onTestFinished(() => disk.works())
  return { net, flow, disk, shipping }
}

/** A write, and whether it was acknowledged. */
function asked(write: Promise<unknown>): { readonly write: Promise<unknown>; readonly isAcked: () => boolean } {
  let isAcked = false
  return { write: write.then(() => (isAcked = true)), isAcked: () => isAcked }
}

describe.each<Fault>(['space', 'io'])('K3 a replica whose disk says %s', (error) => {
  it.each<[string, readonly RootMethod[]]>([
    ['when its log is written', ['segment', 'segment.write', 'put', 'putLarge']],
    ['when its log is synced', ['segment.datasync']],
  ])('%s: acknowledges nothing, has failed, and goes on when it is opened again', async (_, methods) => {
    const { flow, disk, shipping } = await waiting()
    const r1 = flow.replicas.get('r1')!
    const before = Number(r1.status().durable)
    disk.fails(error, 'log/', methods)
    const { write, isAcked } = asked(flow.write(50))
    await until(() => r1.status().failure !== undefined && of(shipping, 'r1').lastError?.code === 'store.poisoned')
    await until(() => of(shipping, 'r2').durableLsn > BigInt(before))
    expect(r1.status().failure).toMatchObject({ name: 'PoisonedError' })
    expect(of(shipping, 'r1').state).not.toBe('in_sync')
    expect(isAcked()).toBe(false)
    expect(Number(shipping.status().committedLsn)).toBeLessThanOrEqual(Number(of(shipping, 'r1').durableLsn))
    const told = of(shipping, 'r1').durableLsn
    // Space again, and as after a power cut: what was told is there.
    disk.works()
    await r1.close().catch(() => undefined)
    const again = await flow.replica('r1', disk.inner.crash(), { world: bootWorld() })
    expect(again.status().durable).toBeGreaterThanOrEqual(told)
    await write
    await flow.equal()
  })

  it('when a file comes: keeps the records before it, says why, and takes the file in a next session', async () => {
    const { flow, disk, shipping } = await waiting()
    const r1 = flow.replicas.get('r1')!
    disk.fails(error, 'fragments/')
    const { write, isAcked } = asked(flow.bulk(2000).then(() => flow.store.flush()))
    await until(() => disk.struck > 0 && of(shipping, 'r1').lastError?.code === `root.${error}`)
    expect(of(shipping, 'r1').state).not.toMatch(/in_sync|needs_rebuild|halted/)
    expect(r1.status()).toMatchObject({ failure: undefined })
    expect(isAcked()).toBe(false)
    await until(() => of(shipping, 'r2').durableLsn > r1.status().durable)
    expect(Number(of(shipping, 'r1').durableLsn)).toBeLessThanOrEqual(Number(r1.status().durable))
    disk.works()
    await write
    await flow.equal()
  })

  it('when a session is to be noted in NODE: lets no session in before it is, and then does', async () => {
    const { net, flow, disk, shipping } = await waiting()
    disk.fails(error, 'NODE')
    net.network.cut('primary', 'r1')
    await until(() => disk.struck > 0 && of(shipping, 'r1').lastError?.code === `root.${error}`)
    expect(of(shipping, 'r1').state).not.toBe('in_sync')
    await expect(flow.write(1)).rejects.toMatchObject({ name: 'AckUnavailableError' })
    disk.works()
    await flow.equal()
    await flow.write(5)
    await flow.equal()
  })

  it.each(['fragments/', 'staging/base', 'bases/', 'checkpoints/'])(
    'when a base is put under %s: shows what it showed, needs the rebuild still, and has it when there is space',
    async (prefix) => {
      const { flow, disk, shipping } = await waiting()
      const r1 = flow.replicas.get('r1')!
      const shown = await flow.rows(r1.store)
      await shipping.close()
      await flow.store.setAckMode('async', { force: true })
      await flow.write(300)
      await flow.bulk(2000)
      await flow.store.flush()
      await flow.store.close()
      await flow.reopen()
      const { log } = (flow.store as unknown as { o: { log: { head: bigint; trim(lsn: bigint): Promise<bigint> } } }).o
      await log.trim(log.head)
      disk.fails(error, prefix)
      const now = await flow.ship()
      // Once the switch is begun it is finished: by the next open, where this one cannot.
      const isBegun = prefix === 'bases/' || prefix === 'checkpoints/'
      const code = isBegun ? 'store.poisoned' : `root.${error}`
      await until(() => disk.struck > 0 && of(now, 'r1').lastError?.code === code)
      expect(of(now, 'r1').state).toMatch(/needs_rebuild|rebuilding|connecting/)
      expect(r1.status()).toMatchObject({ generation: 0, failure: isBegun ? { name: 'PoisonedError' } : undefined })
      expect(await flow.rows(r1.store)).toEqual(shown)
      disk.works()
      if (isBegun) {
        await r1.close().catch(() => undefined)
        await flow.replica('r1', disk.inner.crash(), { world: bootWorld() })
      }
      await flow.equal()
      // Whoever had needs_rebuild is rebuilt, once more where the switch was finished meanwhile.
      expect(flow.replicas.get('r1')!.status().generation).toBe(prefix === 'checkpoints/' ? 2 : 1)
    },
  )
})
