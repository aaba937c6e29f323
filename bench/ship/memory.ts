// bench/ship/memory.ts: what shipping costs without a wire. Catch-up over the memory network, in one process with its primary, beside a verification of the same
// records where they lie; and the policy core: a fence check and one step of progress. Rounds alternate, medians count.
import { GCProfiler, getHeapStatistics } from 'node:v8'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { MemoryNetwork, RecoveryLog, Replica, Sender, SessionSequence, ship, type ReplicaId } from '../../bindings/shipping.ts'
import { commitLoop } from '../contender.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'

const LANES = 256
const STEPS = 1_000_000

export async function memory(suite: FigureSuite): Promise<void> {
  await catchUp(suite)
  progress(suite)
}

async function catchUp({ rounds, quick, fact }: FigureSuite): Promise<void> {
  const commits = quick ? 20_000 : 200_000
  const db = await VarveDatabase.open(freshFolder())
  await using store = db.store
  await commitLoop(db, 0, LANES, 120_000, commits)
  const records = Number(store.lsn)
  const network = new MemoryNetwork(defaultWorld())
  const found = { verify: [] as number[], caught: [] as number[] }
  for (let round = 0; round <= rounds; round++) {
    const started = performance.now()
    const { ok } = await store.verify({ level: 'log' })
    if (!ok) throw new Error('the log does not verify')
    const verified = performance.now() - started
    {
      const endpoint = { data: `r${round}`, version: 1 }
      await using replica = await Replica.open(`memory:caught-up-${round}`, { replicaId: `r${round}`, endpoint, transport: network.transport(`r${round}`) })
      const asked = performance.now()
      await using shipping = await ship(store, { replicas: [{ id: `r${round}`, endpoint, role: 'learner' }], transport: network.transport('primary') })
      await shipping.settled()
      const caught = performance.now() - asked
      if (replica.status().durable < BigInt(records)) throw new Error('the replica is not there yet')
      // The first round warms up.
      if (round === 0) continue
      found.verify.push(verified)
      found.caught.push(caught)
    }
  }
  const rate = (ms: readonly number[]): number => records / (medianOf([...ms]) / 1000)
  fact('memory.verify', `${rounded(rate(found.verify))} records/s of ${records}, read and verified where they lie`)
  fact('memory.catch-up', `${rounded(rate(found.caught))} records/s over the memory network`)
  fact('memory.catch-up.ratio', rounded(medianOf(found.verify.map((ms, i) => ms / found.caught[i]!))))
}

function progress({ rounds, fact }: FigureSuite): void {
  const micros: number[] = []
  let allocated = Infinity
  for (let round = 0; round <= rounds; round++) {
    const { sender, id, fence } = catchingUp()
    const profiler = new GCProfiler()
    profiler.start()
    const before = getHeapStatistics().used_heap_size
    const started = performance.now()
    for (let at = 1; at <= STEPS; at++) {
      sender.checkFence(fence)
      sender.recordProgress(id, at)
    }
    const ms = performance.now() - started
    const grown = getHeapStatistics().used_heap_size - before
    const collections = profiler.stop()?.statistics.length ?? 0
    if (round === 0) continue
    micros.push((ms * 1000) / STEPS)
    if (collections === 0) allocated = Math.min(allocated, grown)
  }
  fact('memory.progress', `${medianOf(micros).toFixed(3)} µs for a fence check and a step of progress`)
  fact('memory.progress.allocated', `${rounded(allocated / 1024)} KiB in ${STEPS} steps`)
}

function catchingUp(): { sender: Sender; id: ReturnType<Sender['attach']>; fence: Parameters<Sender['checkFence']>[0] } {
  const storeId = 'ab'.repeat(16)
  const replicaId = 'r1' as ReplicaId
  const { clock } = defaultWorld()
  const context = { storeId, clock, log: new RecoveryLog({ clock }), sequence: new SessionSequence() }
  const sender = new Sender(context, { id: replicaId, endpoint: { data: 'r1:1', version: 1 }, role: 'voter' }, 1)
  const id = sender.attach(1, 'catchup')
  sender.beginConnect(id)
  const hello = { protocol: 1, replicaId, storeId, epochSeen: 1, durableLsn: 0, committedLsn: 0, tailLsn: 0, lineage: [], digest: new Uint8Array(32) }
  const history = { headLsn: STEPS, tailLsn: 0, fragmentFloorLsn: 0, committedLsn: STEPS, checkpoint: null, lineage: [{ epoch: 1, firstLsn: 1 }] }
  sender.recordHandshake(id, { ...hello, checkpoints: [], rebuildInProgress: null, isWhole: true, elided: null }, history, { matchLsn: 0, agrees: undefined })
  sender.beginCatchUp(id)
  return { sender, id, fence: sender.session()!.fence }
}
