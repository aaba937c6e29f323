// A replica as a process; commands and answers as primary-child.ts.
//
//   replica-child <folder> <id> <host:port>
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Replica } from '../../../bindings/shipping.ts'

const [folder, replicaId, listen] = process.argv.slice(2)
const replica = await Replica.open(folder!, { replicaId: replicaId!, listen: listen!, openRetry: { delaysMs: [50, 100, 200, 400, 800, 1600] } })
say(`ready ${replica.endpoint.data}`)
using _installed = replica.on('installed', ({ generation }) => say(`installed ${generation}`))
using _truncated = replica.on('truncated', ({ durable }) => say(`truncated ${durable}`))
using _failed = replica.on('failed', ({ failure }) => say(`failed ${failure?.message ?? ''}`))

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(' ')
  if (command === 'status') say(`status ${JSON.stringify(replica.status(), (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}`)
  else if (command === 'count') say(`count ${await replica.store.scan(await replica.store.table('entries')).count()}`)
  else if (command === 'promote') {
    const store = await replica.promote(rest[0] === undefined ? {} : { acceptLossAbove: Number(rest[0]) })
    const { epoch, lsn } = store
    await store.close()
    say(`promoted ${epoch} ${lsn}`)
    break
  } else if (command === 'close') {
    await replica.close()
    say('closed')
    break
  }
}
process.exitCode = 0
// Its input ends with it.
process.stdin.destroy()

function say(text: string): void {
  writeSync(1, `${text}\n`)
}
