// One use of a TCP transport, up to its end; then nothing is left that would keep the process.
//
//   exits-child <case>
//   says  done <what it came to>
import { createServer, type Server, type Socket } from 'node:net'
import { TransportError } from '../../../bindings/errors-ship.ts'
import { Store } from '../../../bindings/index.ts'
import { type Endpoint, type Link, type LinkHost, TcpTransport, type WireFrame } from '../../../bindings/ship/index.ts'
import { Replica, ship } from '../../../bindings/shipping.ts'
import { entries, entryOf } from './tables.ts'

const LOCAL: Endpoint = { data: '127.0.0.1:0', version: 1 }
const SOON = { connectTimeoutMs: 200, stallMs: 200 }
const never = new AbortController().signal
const frame = (bytes: number): WireFrame => ({
  epoch: 1,
  session: 1,
  message: { type: 'fragment', hash: new Uint8Array(32), offset: 0, total: bytes, dead: false, bytes: new Uint8Array(bytes) },
})

/** Takes connections, and says nothing over them. */
async function silent(): Promise<{ readonly endpoint: Endpoint; readonly close: () => void }> {
  const sockets: Socket[] = []
  const server: Server = createServer((socket) => void sockets.push(socket.on('error', () => undefined).pause()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return { endpoint: { data: `127.0.0.1:${port}`, version: 1 }, close }
}

/** Takes links and does not read. */
const deaf: LinkHost & { readonly links: Link[] } = { links: [], accept: (link) => void deaf.links.push(link) }

async function nameOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'nothing'
  } catch (error) {
    return (error as Error).name
  }
}

const CASES: Readonly<Record<string, () => Promise<string>>> = {
  'silent-peer': async () => {
    const peer = await silent()
    const told = await nameOf(new TcpTransport({ ...SOON, key: 'c3'.repeat(32) }).connect(peer.endpoint, never))
    peer.close()
    return told
  },
  'nobody-there': async () => {
    const peer = await silent()
    peer.close()
    return await nameOf(new TcpTransport(SOON).connect(peer.endpoint, never))
  },
  'abort-connect': async () => {
    const peer = await silent()
    const stop = new AbortController()
    const connecting = nameOf(new TcpTransport({ key: 'c3'.repeat(32) }).connect(peer.endpoint, stop.signal))
    setImmediate(() => stop.abort(new TransportError('enough')))
    const told = await connecting
    peer.close()
    return told
  },
  'abort-receive': async () => {
    const transport = new TcpTransport()
    const listening = await transport.listen(deaf, LOCAL)
    const link = await transport.connect(listening.endpoint, never)
    const reading = nameOf(link.frames[Symbol.asyncIterator]().next())
    await link.close(new TransportError('enough'))
    const told = await reading
    await listening[Symbol.asyncDispose]()
    return told
  },
  'abort-send': async () => {
    const transport = new TcpTransport({ bufferBytes: 1024 * 1024 })
    const listening = await transport.listen(deaf, LOCAL)
    const link = await transport.connect(listening.endpoint, never)
    const sending: Promise<string>[] = []
    for (let i = 0; i < 200; i++) sending.push(nameOf(link.send(frame(256 * 1024))))
    setImmediate(() => void link.close(new TransportError('enough')))
    const told = (await Promise.all(sending)).at(-1)!
    await listening[Symbol.asyncDispose]()
    return told
  },
  'stalled-send': async () => {
    const transport = new TcpTransport({ ...SOON, bufferBytes: 1024 * 1024 })
    const listening = await transport.listen(deaf, LOCAL)
    const link = await transport.connect(listening.endpoint, never)
    const sending: Promise<string>[] = []
    for (let i = 0; i < 200; i++) sending.push(nameOf(link.send(frame(256 * 1024))))
    const told = (await Promise.all(sending)).at(-1)!
    await listening[Symbol.asyncDispose]()
    return told
  },
  'bad-bytes': async () => {
    const transport = new TcpTransport()
    const listening = await transport.listen(deaf, LOCAL)
    const { connect } = await import('node:net')
    const socket = connect({ host: '127.0.0.1', port: Number(listening.endpoint.data.split(':')[1]) })
    socket.on('error', () => undefined).resume()
    const ended = new Promise((resolve) => socket.once('close', resolve))
    socket.write(new Uint8Array(64).fill(0xff))
    while (deaf.links.length === 0) await new Promise((resolve) => setImmediate(resolve))
    const told = await nameOf(deaf.links[0]!.frames[Symbol.asyncIterator]().next())
    await ended
    await listening[Symbol.asyncDispose]()
    return told
  },
  'ship-and-follow': async () => {
    const store = await Store.open('memory:')
    await store.create(entries)
    const replica = await Replica.open('memory:', { replicaId: 'r1', listen: '127.0.0.1:0' })
    const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: replica.endpoint.data }] })
    await store.append(entries, entryOf(1n))
    await shipping.settled()
    await shipping.close()
    await replica.close()
    await store.close()
    return 'closed'
  },
  'ship-to-silence': async () => {
    const peer = await silent()
    const store = await Store.open('memory:')
    const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: peer.endpoint.data }] })
    while (!shipping.log.events().some(({ event }) => event === 'connected' || event === 'session_created'))
      await new Promise((resolve) => setImmediate(resolve))
    await shipping.close()
    await store.close()
    peer.close()
    return 'closed'
  },
}

process.stdout.write(`done ${await CASES[process.argv[2]!]!()}\n`)
