// A primary as a process: commits as fast as it can and ships. It is told what to do on stdin, one word a line, and says what it did on stdout.
//
//   primary-child <folder> <JSON of PrimaryConfig>
//   says  ready <epoch> <lsn>       a <id> <lsn>: that commit resolved       e <id> <code>: it did not       and the answers of the commands below
//
// Invariant: an id is printed only after its commit resolved, by a synchronous write: what the parent has read was acknowledged.
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Store } from '../../../bindings/index.ts'
import { ship } from '../../../bindings/shipping.ts'
import type { PrimaryConfig } from './cluster.ts'
import { entries, entryOf } from './tables.ts'

const FLUSH_EVERY = 400

const folder = process.argv[2]!
const config = JSON.parse(process.argv[3]!) as PrimaryConfig
const store = await Store.open(folder, { openRetry: { delaysMs: [50, 100, 200, 400, 800, 1600] } })
const shipping = await ship(store, {
  replicas: config.replicas,
  ...(config.ack === undefined ? {} : { ack: config.ack }),
  ackTimeoutMs: config.ackTimeoutMs ?? 5000,
  ...(config.retention === undefined ? {} : { retention: config.retention }),
  allowIndeterminate: true,
})
await store.create(entries).catch((error: unknown) => {
  if ((error as { code?: string }).code !== 'ship.ack-timeout') throw error
})
let next = BigInt(config.first)
let running = false
const inFlight = new Set<Promise<void>>()
say(`ready ${store.epoch} ${store.lsn}`)
using _states = shipping.on('state', ({ replicaId, from, to, reason }) => say(`state ${replicaId} ${from} ${to} ${reason}`))
using _fenced = shipping.on('fenced', ({ seen }) => say(`fenced ${seen}`))

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(' ')
  if (command === 'go') go(Number(rest[0] ?? 16))
  else if (command === 'pause') {
    running = false
    await Promise.all(inFlight)
    say('paused')
  } else if (command === 'settle') {
    // A flush of the store's own may come behind it at any time.
    const { lsn } = store
    await shipping.settled(rest[0] === undefined ? {} : { replicas: Number(rest[0]) })
    say(`settled ${lsn}`)
  } else if (command === 'status')
    say(`status ${JSON.stringify(shipping.status(), (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}`)
  else if (command === 'events') say(`events ${JSON.stringify(shipping.log.events().map(({ event, detail }) => ({ event, detail })))}`)
  else if (command === 'trim') {
    for (let i = 0; i < 3; i++) {
      await store.append(entries, entryOf(next++))
      await store.flush()
      await store.vacuum({ keep: { versions: 1 } })
    }
    say(`trimmed ${(await store.stats()).log.tail}`)
  } else if (command === 'assign') {
    await shipping.assign(JSON.parse(rest.join(' ')) as never)
    say('assigned')
  } else if (command === 'close') break
}
running = false
await shipping.close()
const pins = (await store.pins()).length
await store.close().catch(() => undefined)
say(`closed ${pins}`)

function go(lanes: number): void {
  running = true
  for (let i = 0; i < lanes; i++) {
    const lane = commits().finally(() => inFlight.delete(lane))
    inFlight.add(lane)
  }
}

async function commits(): Promise<void> {
  while (running) {
    const id = next++
    try {
      const { lsn } = await store.append(entries, entryOf(id))
      say(`a ${id} ${lsn}`)
    } catch (error) {
      const { code = 'none' } = error as { code?: string }
      say(`e ${id} ${code}`)
      if (code === 'log.fenced' || code === 'store.poisoned' || code === 'store.closed') return
    }
    if (id % BigInt(FLUSH_EVERY) === 0n) await store.flush().catch(() => undefined)
  }
}

/** A full pipe is waited for: what was acknowledged is told before anything else is done. */
function say(text: string): void {
  const bytes = Buffer.from(`${text}\n`)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at)
    } catch (error) {
      if ((error as { code?: string }).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}
