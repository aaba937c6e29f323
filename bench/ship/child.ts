// bench/ship/child.ts: a replica in a process of its own, or many in memory. Says where they listen, answers `status` of the first, ends at `close` or at the end of
// its input. What comes to its echo goes back; what comes to its log goes back once it is written and synced in a file of its own.
//
//   node bench/ship/child.ts <folder> <id> [count in memory, called <id>0, <id>1, ...]
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { createInterface } from 'node:readline'
import { Replica } from '../../bindings/shipping.ts'
import { SyncedFile } from './synced-file.ts'

const [folder, replicaId, count] = process.argv.slice(2)
const listen = '127.0.0.1:0'
const replicas: Replica[] = []
if (count === undefined) replicas.push(await Replica.open(folder!, { replicaId: replicaId!, listen }))
else for (let i = 0; i < Number(count); i++) replicas.push(await Replica.open(`memory:${replicaId}${i}`, { replicaId: `${replicaId}${i}`, listen }))
const replica = replicas[0]!
const echo = createServer({ noDelay: true }, (socket) => socket.on('error', () => socket.destroy()).pipe(socket))
echo.listen(0, '127.0.0.1')
await once(echo, 'listening')
// Beside the folder: those in memory have none, and are not asked.
let file: SyncedFile | undefined
const log = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  socket.on('data', (bytes: Uint8Array) => (file ??= new SyncedFile(`${folder}.bare`)).append(bytes, () => socket.write(bytes)))
})
log.listen(0, '127.0.0.1')
await once(log, 'listening')
print({ endpoints: replicas.map(({ endpoint }) => endpoint.data), echoPort: portOf(echo), logPort: portOf(log) })
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'status') {
    const { lsn, durable, committed } = replica.status()
    print({ lsn: String(lsn), durable: String(durable), committed: String(committed), cpuMicros: cpu() })
  } else if (line === 'close') break
}
echo.close()
log.close()
for (const each of replicas) await each.close()
process.exitCode = 0

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
