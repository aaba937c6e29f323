// bench/ship/child.ts: a replica in a process of its own, or many in memory. Says where they listen, answers `status` of the first, ends at `close` or at the end of
// its input. What comes to its echo goes back.
//
//   node bench/ship/child.ts <folder> <id> [count in memory, called <id>0, <id>1, ...]
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { Replica } from '../../bindings/shipping.ts'

const [folder, replicaId, count] = process.argv.slice(2)
const listen = '127.0.0.1:0'
const replicas: Replica[] = []
if (count === undefined) replicas.push(await Replica.open(folder!, { replicaId: replicaId!, listen }))
else for (let i = 0; i < Number(count); i++) replicas.push(await Replica.open(`memory:${replicaId}${i}`, { replicaId: `${replicaId}${i}`, listen }))
const replica = replicas[0]!
const echo = createServer({ noDelay: true }, (socket) => socket.on('error', () => socket.destroy()).pipe(socket))
echo.listen(0, '127.0.0.1')
await once(echo, 'listening')
print({ endpoints: replicas.map(({ endpoint }) => endpoint.data), echoPort: (echo.address() as AddressInfo).port })
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'status') {
    const { lsn, durable, committed } = replica.status()
    print({ lsn: String(lsn), durable: String(durable), committed: String(committed), cpuMicros: cpu() })
  } else if (line === 'close') break
}
echo.close()
for (const each of replicas) await each.close()
process.exitCode = 0

function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
