// A real process that kills itself at a failpoint; driven by failpoint-kill.test.ts.
//   node failpoint-kill-child.ts <directory> <point> <arrivals that pass>     stdout: "s n" (begun) and "a n" (acknowledged), a line each
import { writeSync } from 'node:fs'

import { Store, t, table } from '../../bindings/index.ts'
import { type FailpointName, FailpointRegistry } from '../../bindings/testing/index.ts'

const [directory, point, after] = process.argv.slice(2) as [string, FailpointName, string]
const say = (line: string): void => void writeSync(1, `${line}\n`)
const docs = table('docs', { id: t.int32(), body: t.utf8() }, { key: ['id'] })

const failpoints = new FailpointRegistry()
failpoints.onCrash(() => process.kill(process.pid, 'SIGKILL'))
failpoints.arm(point, { crash: true, after: Number(after) })
// Two lives, so that the points of a reopen are passed as well.
for (let life = 0; life < 2; life++) {
  const store = await Store.open(directory, { world: { failpoints }, segmentBytes: 64 * 1024, threads: 0 })
  if ((await store.tables()).length === 0) await store.create(docs)
  for (let i = 0; i < 5; i++) {
    const id = life * 10 + i
    say(`s ${id}`)
    await store.upsert(docs, { id, body: `${id}`.repeat(3000) })
    say(`a ${id}`)
    if (i === 3) await store.flush()
  }
  await store.close()
}
say('end')
