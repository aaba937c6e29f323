// cli/demo-child.ts: the process that `varve demo` kills: many commits at once, each acknowledged on stdout once it is durable.
//
//   demo-child <store> <commits>      prints "ready", then one id a line, in the order of their acknowledgement
//
// Invariant: an id is printed only after its commit resolved, by a synchronous write: what the parent has read was acknowledged.
import { writeSync } from 'node:fs'
import { Store } from '../index.ts'
import { bookingOf, bookings } from './demo/tables.ts'

const [, , path = '', commits = '0'] = process.argv
const store = await Store.open(path, { create: 'never' })
writeSync(1, 'ready\n')
const pending: Promise<void>[] = []
for (let id = 0n; id < BigInt(commits); id++) pending.push(book(id))
await Promise.all(pending)
await store.close()

async function book(id: bigint): Promise<void> {
  await store.append(bookings, bookingOf(id))
  writeSync(1, `${id}\n`)
}
