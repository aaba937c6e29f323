// bench/ship/outage.ts: the link of a replica is cut for a second while commits go on; how long until it is in sync again, and how much of that is replay.
import { ship } from '../../bindings/shipping.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import { commitLoop } from '../contender.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { openProxy } from '../../test/ship/proxy.ts'
import { ReplicaProcess } from './replicas.ts'

const OUTAGE_MS = 1000
const POLL_MS = 2
const LANES = 4

export async function outage(suite: FigureSuite): Promise<void> {
  await using replica = await ReplicaProcess.start(freshFolder(), 'r1')
  const wire = await openProxy(replica.endpoint)
  await using stack = new AsyncDisposableStack()
  stack.defer(() => wire.close())
  const db = await VarveDatabase.open(freshFolder())
  await using store = db.store
  await using shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: wire.address }] })
  await shipping.settled()
  const back: number[] = []
  const missed: number[] = []
  let first = 0
  for (let round = 0; round < suite.rounds; round++) {
    const before = shipping.status().durableLsn
    wire.refuse = true
    wire.cut()
    const ran = await commitLoop(db, first, LANES, OUTAGE_MS)
    first += ran.commits
    const head = shipping.status().durableLsn
    wire.refuse = false
    const started = performance.now()
    while (!(shipping.status().replicas[0]!.state === 'in_sync' && shipping.status().replicas[0]!.durableLsn >= head)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    back.push(performance.now() - started)
    missed.push(Number(head - before))
  }
  suite.fact('outage.back-in-sync', `${rounded(medianOf(back))} ms after the link was there again (${back.map((ms) => Math.round(ms)).join(', ')})`)
  suite.fact('outage.missed', `${medianOf(missed)} records to replay`)
}
