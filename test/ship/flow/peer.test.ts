// The primary's end of a link by itself, against a replica written by hand: what it sends of what it is asked for, what it believes of what it is told, and when it
// gives the other side up. Time is a fake clock's.
import { expect, it, onTestFinished } from 'vitest'

import { FragmentHashError, FragmentMissingError } from '../../../bindings/errors-ship.ts'
import type { Message } from '../../../bindings/format/index.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { fillWorld } from '../../../bindings/runtime/index.ts'
import type { FileRef, Manifest } from '../../../bindings/ship/index.ts'
import { Peer, type PeerOptions } from '../../../bindings/ship/peer.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { failure } from '../../unit/store/places.ts'
import { linkPair } from './link-pair.ts'

const never = new AbortController().signal
type Of<T extends Message['type']> = Extract<Message, { readonly type: T }>

interface Rig {
  readonly clock: FakeClock
  readonly root: MemoryRoot
  readonly peer: Peer
  readonly heard: Message[]
  say(message: Message): Promise<void>
  /** The next message of the type that was not taken yet. */
  next<T extends Message['type']>(type: T): Promise<Of<T>>
}

function rig(o: Partial<PeerOptions> = {}, root: MemoryRoot = new MemoryRoot({})): Rig {
  const clock = new FakeClock()
  const world = { ...fillWorld(undefined), clock: clock.clock, timers: clock.timers }
  const [here, there] = linkPair()
  const peer = new Peer(here, { world, epoch: 1, session: 1, root, committed: () => 0, head: () => 0, ...o })
  const heard: Message[] = []
  void (async () => {
    for await (const { message } of there.frames) heard.push(message)
  })().catch(() => undefined)
  onTestFinished(() => peer.close())
  const next = async <T extends Message['type']>(type: T): Promise<Of<T>> => {
    for (;;) {
      const at = heard.findIndex((message) => message.type === type)
      if (at >= 0) return heard.splice(at, 1)[0] as Of<T>
      await turns(1)
    }
  }
  return { clock, root, peer, heard, say: (message) => there.send({ epoch: 1, session: 1, message }), next }
}

async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function fileOf(root: MemoryRoot, text: string): Promise<FileRef> {
  const bytes = new TextEncoder().encode(text)
  const hash = sha256(bytes)
  const hex = Buffer.from(hash).toString('hex')
  const name = `fragments/${hex.slice(0, 2)}/${hex}.arrow`
  await root.put(name, bytes)
  return { name, hash, bytes: bytes.length }
}

async function baseOf(root: MemoryRoot): Promise<Manifest> {
  const bytes = new TextEncoder().encode('a checkpoint')
  const name = `checkpoints/${'9'.padStart(20, '0')}.ckpt`
  await root.put(name, bytes)
  return {
    storeId: new Uint8Array(16),
    baseLsn: 9,
    digest: new Uint8Array(32),
    lineage: [{ epoch: 1, firstLsn: 1 }],
    logFrom: 9,
    logDigest: new Uint8Array(32),
    checkpoint: { name, hash: sha256(bytes), bytes: bytes.length },
    files: [await fileOf(root, 'one'), await fileOf(root, 'another')],
  }
}

interface Sent {
  files: number
  bytes: number
}

function sending({ peer }: Rig, manifest: Manifest, want: readonly FileRef[], told: Sent[] = []): Promise<void> {
  return peer.sendBase(manifest, want, { attemptsMax: 3, records: () => Promise.resolve(), sink: (sent) => void told.push({ ...sent }), signal: never })
}

it('a base has the files of its manifest: one that it does not name is not sent, whether it is there or not, at first or when it is asked for again', async () => {
  const one = rig()
  const manifest = await baseOf(one.root)
  const secret = await fileOf(one.root, 'of another version')
  expect(await failure(() => sending(one, manifest, [secret]))).toBeInstanceOf(FragmentMissingError)
  expect(one.heard.filter(({ type }) => type === 'fragment')).toEqual([])
  const other = rig({}, one.root)
  const over = failure(() => sending(other, manifest, [manifest.files[0]!]))
  await other.next('fragment')
  await other.say({ type: 'want', lsn: 0, files: [secret] })
  expect(await over).toMatchObject({ name: 'FragmentMissingError', message: expect.stringContaining('manifest') as string })
  expect(other.heard.filter(({ type }) => type === 'fragment')).toEqual([])
})

it('B8 a file of a base goes out as often as it may be tried, and not once more', async () => {
  const one = rig()
  const manifest = await baseOf(one.root)
  const [file] = manifest.files
  const told: Sent[] = []
  const over = failure(() => sending(one, manifest, [file!], told))
  for (let attempt = 1; attempt <= 3; attempt++) {
    expect((await one.next('fragment')).hash).toEqual(file!.hash)
    await one.say({ type: 'want', lsn: 0, files: [file!] })
  }
  expect(await over).toBeInstanceOf(FragmentHashError)
  expect(await over).toMatchObject({ details: { attempts: 3 } })
  expect(one.heard.filter(({ type }) => type === 'fragment')).toEqual([])
  expect(told.at(-1)).toEqual({ files: 3, bytes: 3 * file!.bytes })
})

it('B8 files that are asked for again while others still go out are not forgotten; nothing asked for is the end', async () => {
  const one = rig()
  const manifest = await baseOf(one.root)
  await one.say({ type: 'want', lsn: 0, files: [manifest.files[1]!] })
  await turns()
  const over = sending(one, manifest, manifest.files)
  for (const file of [...manifest.files, manifest.files[1]!]) expect((await one.next('fragment')).hash).toEqual(file.hash)
  await one.say({ type: 'want', lsn: 0, files: [] })
  await over
})

it('H12 a file that is gone is called dead where the grant allows for it, and is the end of the link elsewhere', async () => {
  const root = new MemoryRoot({})
  const file = await fileOf(root, 'taken by a vacuum')
  await root.delete(file.name)
  for (const [elideDead, needed] of [
    [true, new Set<string>()],
    // One that versions need is lost, not dead.
    [true, new Set([file.name])],
    [false, new Set<string>()],
  ] as const) {
    const { peer, say, next, heard } = rig({ needed: () => Promise.resolve(needed) }, root)
    const granted = peer.grant({ mode: 'catchup', start: 0, target: 9, committedLsn: 0, elideDead }, never)
    await say({ type: 'grantAck', durableLsn: 0 })
    await granted
    await say({ type: 'want', lsn: 5, files: [file] })
    if (elideDead && needed.size === 0) expect(await next('fragment')).toMatchObject({ dead: true, hash: file.hash, bytes: new Uint8Array() })
    else {
      while (peer.ended === undefined) await turns(1)
      expect(peer.ended).toMatchObject({ name: 'FragmentMissingError', details: { file: file.name } })
      expect(heard.filter(({ type }) => type === 'fragment')).toEqual([])
    }
  }
})

it('what was received and is durable never goes back by an ack; a truncation, a grant and an install set it', async () => {
  const { peer, say } = rig()
  const durable: number[] = []
  peer.onDurable = (lsn) => durable.push(lsn)
  await say({ type: 'ack', receivedLsn: 20, durableLsn: 15, appliedLsn: 10 })
  await say({ type: 'ack', receivedLsn: 12, durableLsn: 12, appliedLsn: 11 })
  await turns()
  expect([peer.receivedLsn, peer.durableLsn, peer.appliedLsn]).toEqual([20, 15, 11])
  await say({ type: 'ack', receivedLsn: 20, durableLsn: 15, appliedLsn: 15 })
  await turns()
  expect(durable).toEqual([15])
  for (const [call, answer, at] of [
    [() => peer.truncate(7, never), { type: 'truncated', lsn: 7, digest: new Uint8Array(32) }, 7],
    [() => peer.install(new Uint8Array(32), never), { type: 'installed', baseLsn: 9 }, 9],
    [() => peer.grant({ mode: 'stream', start: 8, target: 0, committedLsn: 0, elideDead: false }, never), { type: 'grantAck', durableLsn: 8 }, 8],
  ] as const) {
    const asked = call()
    await say(answer)
    expect(await asked).toBe(at)
    expect([peer.receivedLsn, peer.durableLsn]).toEqual([at, at])
  }
})

it('work at the other side may take as long as it takes while it is heard of; silence is the end, and so is a late answer to a question', async () => {
  const one = rig()
  const cut = one.peer.truncate(7, never)
  for (let second = 0; second < 30; second++) {
    await one.clock.advance(1000)
    await one.say({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 })
    await turns(2)
  }
  expect(one.peer.ended).toBeUndefined()
  await one.say({ type: 'truncated', lsn: 7, digest: new Uint8Array(32) })
  expect(await cut).toBe(7)
  const two = rig()
  const silent = failure(() => two.peer.truncate(7, never))
  await two.clock.advance(6000)
  expect(await silent).toMatchObject({ name: 'TransportError', details: { awaited: 'truncated' } })
  const three = rig()
  const late = failure(() => three.peer.digestAt(7, never))
  for (let i = 0; i < 6; i++) {
    await three.clock.advance(1000)
    await three.say({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 }).catch(() => undefined)
    await turns(2)
  }
  expect(await late).toMatchObject({ name: 'TransportError', details: { awaited: 'digestReply' } })
  expect(three.clock.pending).toBe(0)
})

it('the digest of another position is no answer', async () => {
  const { peer, next, say } = rig()
  const asked = peer.digestAt(40, never)
  expect(await next('digestReq')).toMatchObject({ lsn: 40 })
  await say({ type: 'digestReply', lsn: 30, digest: new Uint8Array(32) })
  expect(await failure(() => asked)).toMatchObject({ code: 'ship.transport', message: expect.stringContaining('30') as string })
})

it('X9 closing waits for a file that is being read: behind it nothing of the link is at work', async () => {
  const root = new MemoryRoot({})
  const file = await fileOf(root, 'from a slow disk')
  const { promise: held, resolve: go } = Promise.withResolvers<void>()
  let isReading = false
  const slow: MemoryRoot = Object.create(root, {
    get: {
      value: async (name: string, o?: Parameters<MemoryRoot['get']>[1]) => {
        isReading = true
        await held
        return await root.get(name, o)
      },
    },
  }) as MemoryRoot
  const { peer, say, heard } = rig({ root: slow })
  await say({ type: 'want', lsn: 5, files: [file] })
  while (!isReading) await turns(1)
  let isClosed = false
  const closing = peer.close().then(() => (isClosed = true))
  await turns()
  expect(isClosed).toBe(false)
  go()
  await closing
  expect(heard.filter(({ type }) => type === 'fragment')).toEqual([])
})
