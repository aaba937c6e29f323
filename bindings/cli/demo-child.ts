// cli/demo-child.ts: the process that `varve demo` kills: many commits at once, each acknowledged on stdout once it is durable; or one staged write.
//
//   demo-child <store> <commits>                 prints "ready", then one id a line, in the order of their acknowledgement
//   demo-child <store> stage <first id> <rows>   prints "ready", then the id of a staged write once it is sealed, and waits
//   demo-child <folder> replica <id>             prints where it listens, and follows whoever comes
//
// Invariant: an id is printed only after its commit resolved, by a synchronous write: what the parent has read was acknowledged.
import { writeSync } from 'node:fs'
import { Store } from '../index.ts'
import { bookingOf, bookings } from './demo/tables.ts'

const [, , path = '', what = '0', first = '0', rows = '0'] = process.argv
if (what === 'replica') await follow(first)
else {
  const store = await Store.open(path, { create: 'never' })
  writeSync(1, 'ready\n')
  if (what === 'stage') await stage(store, BigInt(first), Number(rows))
  else {
    const pending: Promise<void>[] = []
    for (let id = 0n; id < BigInt(what); id++) pending.push(book(store, id))
    await Promise.all(pending)
    await store.close()
  }
}

/** Until it is killed. */
async function follow(replicaId: string): Promise<void> {
  const { Replica } = await import('../shipping.ts')
  const replica = await Replica.open(path, { replicaId, listen: '127.0.0.1:0' })
  writeSync(1, `${replica.endpoint.data}\n`)
  setInterval(() => replica.status(), 1000)
}

async function stage(store: Store, from: bigint, count: number): Promise<void> {
  const write = await store.stage('the night shift')
  await write.append(
    bookings,
    Array.from({ length: count }, (_, i) => bookingOf(from + BigInt(i))),
  )
  await write.seal()
  writeSync(1, `${write.id}\n`)
  // Until it is killed.
  setInterval(() => undefined, 1000)
}

async function book(store: Store, id: bigint): Promise<void> {
  await store.append(bookings, bookingOf(id))
  writeSync(1, `${id}\n`)
}
