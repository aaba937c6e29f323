// bench/ship/child.ts: a replica in a process of its own. Says where it listens, answers `status`, ends at `close` or at the end of its input.
//
//   node bench/ship/child.ts <folder> <id>
import { createInterface } from 'node:readline'
import { Replica } from '../../bindings/shipping.ts'

const [folder, replicaId] = process.argv.slice(2)
const replica = await Replica.open(folder!, { replicaId: replicaId!, listen: '127.0.0.1:0' })
print({ endpoint: replica.endpoint.data })
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'status') {
    const { lsn, durable, committed } = replica.status()
    print({ lsn: String(lsn), durable: String(durable), committed: String(committed), cpuMicros: cpu() })
  } else if (line === 'close') break
}
await replica.close()
process.exitCode = 0

function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
