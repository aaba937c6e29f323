// bench/ship/stream.ts: one-row commits, 256 in flight, with nobody following, one replica in mode async, two in mode quorum: commits a second until everything
// is on every replica. Replicas are processes on this machine; they share its cores and its disk with the primary.
import { Store } from '../../bindings/index.ts'
import { ship } from '../../bindings/shipping.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import { commitLoop } from '../contender.ts'
import { cpuMicros, freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'
import { ReplicaProcess } from './replicas.ts'

const IN_FLIGHT = 256
/** What runs once for each group, and in three processes, is compiled late: a quorum goes on becoming faster for some 5 s, commits that stay here for 1 s. */
const WARM_TURNS = 4

interface Turn {
  readonly rate: number
  /** Until the last replica had it all, seen from the first commit. */
  readonly shippedRate: number
  readonly cpuPerCommit: number
  /** Of each replica, in the mean. */
  readonly cpuPerCommitThere: number
}

class Lane {
  readonly name: string
  readonly turns: Turn[] = []
  private next = 0
  private readonly db: VarveDatabase
  private readonly settled: () => Promise<void>
  private readonly replicas: readonly ReplicaProcess[]

  constructor(name: string, db: VarveDatabase, settled: () => Promise<void>, replicas: readonly ReplicaProcess[]) {
    this.name = name
    this.db = db
    this.settled = settled
    this.replicas = replicas
  }

  async turn(ms: number, isCounted: boolean): Promise<void> {
    settleDisk()
    let commits = 0
    let commitMs = 0
    const before = await this.cpuThere()
    const started = performance.now()
    const cpu = await cpuMicros(async () => {
      const ran = await commitLoop(this.db, this.next, IN_FLIGHT, ms)
      commits = ran.commits
      commitMs = ran.ms
      this.next += ran.commits
    })
    await this.settled()
    const wholeMs = performance.now() - started
    const cpuThere = (await this.cpuThere()) - before
    if (!isCounted) return
    this.turns.push({
      rate: (commits / commitMs) * 1000,
      shippedRate: (commits / wholeMs) * 1000,
      cpuPerCommit: cpu / commits,
      cpuPerCommitThere: cpuThere / commits / this.replicas.length,
    })
  }

  private async cpuThere(): Promise<number> {
    let micros = 0
    for (const replica of this.replicas) micros += (await replica.facts()).cpuMicros
    return micros
  }
}

export async function stream(suite: FigureSuite): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const lanes = [
    await laneOf(stack, 'local', 0, 'async'),
    await laneOf(stack, 'async-1', 1, 'async'),
    await laneOf(stack, 'async-2', 2, 'async'),
    await laneOf(stack, 'quorum-3', 2, 'quorum'),
  ]
  const ms = suite.quick ? 400 : 1500
  for (let turn = 0; turn < WARM_TURNS; turn++) for (const lane of lanes) await lane.turn(ms, false)
  for (let round = 0; round < suite.rounds; round++) for (const lane of lanes) await lane.turn(ms, true)
  const local = medianOf(lanes[0]!.turns.map(({ rate }) => rate))
  for (const { name, turns } of lanes) {
    const rate = medianOf(turns.map((turn) => turn.rate))
    const shipped = medianOf(turns.map((turn) => turn.shippedRate))
    suite.fact(`stream.${name}`, `${Math.round(rate).toLocaleString('en-US')} commits/s (${rounded(rate / local)} of local)`)
    if (name !== 'local') {
      suite.fact(`stream.${name}.on-replicas`, `${Math.round(shipped).toLocaleString('en-US')} commits/s (${rounded(shipped / local)} of local)`)
      suite.fact(`stream.${name}.cpu-replica`, `${rounded(medianOf(turns.map((turn) => turn.cpuPerCommitThere)))} µs of each replica per commit`)
    }
    suite.fact(`stream.${name}.cpu`, `${rounded(medianOf(turns.map((turn) => turn.cpuPerCommit)))} µs of the primary per commit`)
  }
}

async function laneOf(stack: AsyncDisposableStack, name: string, count: number, ack: 'async' | 'quorum'): Promise<Lane> {
  const replicas: ReplicaProcess[] = []
  for (let i = 1; i <= count; i++) replicas.push(stack.use(await ReplicaProcess.start(freshFolder(), `r${i}`)))
  const db = await VarveDatabase.open(freshFolder())
  const store: Store = db.store
  stack.defer(() => store.close())
  if (count === 0) return new Lane(name, db, async () => undefined, [])
  const shipping = stack.use(await ship(store, { replicas: replicas.map(({ id, endpoint }) => ({ id, endpoint })), ack }))
  await shipping.settled()
  return new Lane(name, db, () => shipping.settled(), replicas)
}
