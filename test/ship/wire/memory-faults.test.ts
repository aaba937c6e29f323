// The faults of a memory network, under a fake clock: what is late, lost, cut, duplicated or damaged, and that a seed repeats all of it.
import { describe, expect, it } from 'vitest'

import { type Link, MemoryNetwork, type MemoryNetworkOptions, type WireFrame } from '../../../bindings/ship/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'

const frame = (lsn: number, session = 1): WireFrame => ({ epoch: 1, session, message: { type: 'digestReq', lsn } })
const never = new AbortController().signal

interface Received {
  readonly lsns: number[]
  /** undefined while it is open; 'end', or the code. */
  over: string | undefined
}

function reading(link: Link): Received {
  const received: Received = { lsns: [], over: undefined }
  void (async () => {
    try {
      for await (const { message } of link.frames) if (message.type === 'digestReq') received.lsns.push(message.lsn)
      received.over = 'end'
    } catch (error) {
      received.over = (error as { code: string }).code
    }
  })()
  return received
}

interface Ground {
  readonly clock: FakeClock
  readonly network: MemoryNetwork
  dial(): Promise<{ readonly client: Link; readonly server: Link }>
}

async function ground(o: MemoryNetworkOptions = {}, seed = 1): Promise<Ground> {
  const clock = new FakeClock(undefined, { turns: 1 })
  const network = new MemoryNetwork(fakeWorld({ clock, seed }), o)
  const accepted: Link[] = []
  await network.transport('b').listen({ accept: (link) => void accepted.push(link) }, { data: 'b', version: 1 })
  const dial = async (): Promise<{ readonly client: Link; readonly server: Link }> => {
    const client = await network.transport('a').connect({ data: 'b', version: 1 }, never)
    return { client, server: accepted.at(-1)! }
  }
  return { clock, network, dial }
}

describe('a memory network', () => {
  it('delivers at once, in the turn of the send, when nothing is set', async () => {
    const { clock, dial } = await ground()
    const { client, server } = await dial()
    const received = reading(server)
    for (let i = 1; i <= 5; i++) void client.send(frame(i))
    await Promise.resolve()
    expect(clock.pending).toBe(0)
    await clock.advance(0)
    expect(received.lsns).toEqual([1, 2, 3, 4, 5])
  })

  it('delays every frame and never reorders those of one connection, but those of two', async () => {
    const { clock, network, dial } = await ground()
    const [one, two] = [await dial(), await dial()]
    const order: number[] = []
    for (const { server } of [one, two]) {
      void (async () => {
        for await (const { message } of server.frames) if (message.type === 'digestReq') order.push(message.lsn)
      })()
    }
    network.delay([0, 50])
    for (let i = 0; i < 40; i++) await (i % 2 === 0 ? one : two).client.send(frame(i))
    await clock.advance(60)
    expect(order.filter((lsn) => lsn % 2 === 0)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i))
    expect(order.filter((lsn) => lsn % 2 === 1)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i + 1))
    expect(order).not.toEqual(order.toSorted((a, b) => a - b))
  })

  it('holds what is sent into a partition, one way or both, and hands it over when that heals', async () => {
    for (const oneWay of [true, false]) {
      const { clock, network, dial } = await ground()
      const { client, server } = await dial()
      const [there, back] = [reading(server), reading(client)]
      network.partition('a', 'b', { oneWay })
      await client.send(frame(1))
      await server.send(frame(2))
      await clock.advance(10_000)
      expect([there.lsns, back.lsns]).toEqual([[], oneWay ? [2] : []])
      network.heal('b')
      await clock.advance(1)
      expect([there.lsns, back.lsns]).toEqual([[1], [2]])
    }
  })

  it('a close into a partition is not heard before it heals', async () => {
    const { clock, network, dial } = await ground()
    const { client, server } = await dial()
    const received = reading(server)
    network.partition('a', 'b')
    await client.close()
    await clock.advance(1000)
    expect(received.over).toBeUndefined()
    network.heal()
    await clock.advance(1)
    expect([received.over, network.open]).toEqual(['end', []])
  })

  it('a connect into a partition waits for it to heal, 3 000 ms', async () => {
    const { clock, network, dial } = await ground()
    network.partition('b', 'a', { oneWay: true })
    const waiting = dial()
    await clock.advance(2000)
    network.heal('a', 'b')
    await expect(waiting).resolves.toBeDefined()
    network.partition('a', 'b')
    const late = dial().catch((error: unknown) => error)
    await clock.advance(3001)
    expect(await late).toMatchObject({ code: 'ship.transport' })
    expect(clock.pending).toBe(0)
  })

  it('a cut breaks both sides, each behind what still arrives', async () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 24; seed++) {
      const { clock, network, dial } = await ground({}, seed)
      const { client, server } = await dial()
      const [there, back] = [reading(server), reading(client)]
      network.delay(seed > 12 ? [5, 5] : [0, 0])
      for (let i = 1; i <= 3; i++) await client.send(frame(i))
      expect(network.cut('a', 'b')).toBe(1)
      await clock.advance(20)
      expect([there.over, back.over]).toEqual(['ship.transport', 'ship.transport'])
      await expect(client.send(frame(9))).rejects.toMatchObject({ code: 'ship.transport' })
      expect([network.open, clock.pending]).toEqual([[], 0])
      seen.add(there.lsns.join())
    }
    expect(seen).toEqual(new Set(['', '1,2,3']))
  })

  it('a crash tells the others, not the dead, whose sends never settle, and takes its listeners', async () => {
    const { clock, network, dial } = await ground()
    const { client, server } = await dial()
    const [there, back] = [reading(server), reading(client)]
    network.crash('b')
    await clock.advance(10)
    expect([there.over, back.over]).toEqual([undefined, 'ship.transport'])
    let settled = false
    void server.send(frame(1)).then(
      () => (settled = true),
      () => (settled = true),
    )
    await clock.advance(10)
    expect(settled).toBe(false)
    await expect(dial()).rejects.toMatchObject({ code: 'ship.transport' })
    expect([network.open, clock.pending]).toEqual([[], 0])
  })

  it('duplicates arrive on later connections only, at most once each', async () => {
    const { clock, network, dial } = await ground()
    const first = await dial()
    const old = reading(first.server)
    network.duplicate(1)
    for (let i = 1; i <= 20; i++) await first.client.send(frame(i, 1))
    network.duplicate(0)
    await clock.advance(300)
    const second = await dial()
    const later = reading(second.server)
    await clock.advance(3000)
    expect(old.lsns).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(later.lsns.length).toBeGreaterThan(5)
    expect(new Set(later.lsns).size).toBe(later.lsns.length)
  })

  it('damaged frames end the connection and never come out', async () => {
    const codes = new Set<string | undefined>()
    for (let seed = 1; seed <= 60; seed++) {
      const { clock, network, dial } = await ground({}, seed)
      const { client, server } = await dial()
      const received = reading(server)
      for (let i = 1; i <= 3; i++) await client.send(frame(i))
      network.corrupt(1)
      await client.send(frame(4))
      network.corrupt(0)
      for (let i = 5; i <= 9; i++) await client.send(frame(i)).catch(() => undefined)
      await clock.advance(10)
      expect(received.lsns).toEqual([1, 2, 3])
      codes.add(received.over)
    }
    // undefined: its length was damaged, and what follows is taken for the rest of it.
    expect(codes).toEqual(new Set(['ship.frame-checksum', 'ship.frame-too-large', undefined]))
  })

  it('breaks at a rate, and bounds what a silent reader is sent', async () => {
    const { clock, network, dial } = await ground({ bufferBytes: 1000, stallMs: 3000 })
    const { client } = await dial()
    const sends = Array.from({ length: 20 }, (_, i) => client.send(frame(i)))
    const outcome = Promise.allSettled(sends)
    expect(client.bufferedBytes).toBeLessThanOrEqual(1000)
    await clock.advance(3001)
    const rejected = (await outcome).filter(({ status }) => status === 'rejected')
    expect(rejected.length).toBeGreaterThan(10)
    const again = await dial()
    const received = reading(again.server)
    network.breakAt(1)
    await again.client.send(frame(1))
    await clock.advance(1)
    expect(received).toMatchObject({ lsns: [], over: 'ship.transport' })
  })

  it('in manual mode nothing arrives by itself, and everything in the order that is asked for', async () => {
    const told: string[] = []
    const { clock, network, dial } = await ground({ manual: true, onDeliver: (from, to, { message }) => void told.push(`${from}->${to} ${message.type}`) })
    const [one, two] = [await dial(), await dial()]
    const [first, second] = [reading(one.server), reading(two.server)]
    await one.client.send(frame(1))
    await one.client.send(frame(2))
    await two.client.send(frame(3))
    await clock.advance(5000)
    expect([first.lsns, second.lsns]).toEqual([[], []])
    expect(network.queued().map(({ from, to, count }) => [from, to, count])).toEqual([
      ['a', 'b', 2],
      ['a', 'b', 1],
    ])
    network.deliver(1)
    network.deliver(0)
    await clock.advance(0)
    expect([first.lsns, second.lsns]).toEqual([[1], [3]])
    expect(told).toEqual(['a->b digestReq', 'a->b digestReq'])
    network.partition('a', 'b')
    expect(network.queued()).toEqual([])
    network.heal()
    network.deliver(0, { damage: true })
    await one.client.close()
    while (network.queued().length > 0) network.deliver(0)
    await clock.advance(0)
    expect(first.lsns).toEqual([1])
    expect(first.over).not.toBe('end')
  })

  it('does the same again from the same seed, and something else from another', async () => {
    const run = async (seed: number): Promise<string> => {
      const { clock, network, dial } = await ground({ asBytes: true }, seed)
      const all: Received[] = []
      network.delay([0, 30])
      network.breakAt(0.05)
      network.corrupt(0.02)
      network.duplicate(0.1)
      for (let round = 0; round < 10; round++) {
        const connecting = dial()
        await clock.advance(100)
        const { client, server } = await connecting
        all.push(reading(server))
        for (let i = 0; i < 20; i++) await client.send(frame(i, round)).catch(() => undefined)
        if (round % 3 === 0) network.cut('b')
        await clock.advance(40)
      }
      await clock.advance(5000)
      return JSON.stringify(all)
    }
    expect(await run(7)).toBe(await run(7))
    expect(await run(7)).not.toBe(await run(8))
  })
})
