// One of several processes that write to one shared store; driven by shared-writers.test.ts.
//   node shared-writer.ts <directory> <name> <commits>      stdout: "ready", then "s n" (begun) and "a n" (acknowledged), then "done"
import { writeSync } from 'node:fs'

import { Store, t, table } from '../../bindings/index.ts'

const events = table('events', { who: t.utf8(), n: t.int32() })
const totals = table('totals', { id: t.int32(), commits: t.int32() }, { key: ['id'] })
const own = (name: string) => table(`own_${name}`, { id: t.int32(), text: t.utf8() }, { key: ['id'] })

const [directory, name, commits] = process.argv.slice(2) as [string, string, string]
const say = (line: string): void => void writeSync(1, `${line}\n`)

const store = await Store.open(directory, { writers: 'shared', publishRetries: 1000 })
const mine = own(name)
await store.create(events, totals, mine)
say('ready')
for (let n = 0; n < Number(commits); n++) {
  say(`s ${n}`)
  // Three tables, one commit: all of it or nothing.
  await store.transact(
    async (tx) => {
      const total = await tx.get(totals, { id: 1 })
      tx.upsert(totals, { id: 1, commits: (total?.commits ?? 0) + 1 })
      tx.append(events, { who: name, n })
      tx.upsert(mine, { id: n, text: `${name} ${n}` })
    },
    { retries: 1000 },
  )
  say(`a ${n}`)
}
await store.close()
say('done')
