// A process of its own beside object-log-processes.test.ts: opens the log of a directory as one of many writers and appends records of its own, one after the other.
import { LsnTakenError } from '../../bindings/errors.ts'
import { openObjectLog, type ObjectWriteLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { record } from '../../bindings/testing/contracts/log-records.ts'

const [path, firstId, appends] = [process.argv[2]!, Number(process.argv[3]), Number(process.argv[4])]
const world = defaultWorld()
const log = (await openObjectLog(new DirRoot(path, world), { world, storeId: new Uint8Array(16).fill(5) })) as ObjectWriteLog
let lost = 0
process.send?.('open')
process.once('message', () => void write())

async function write(): Promise<void> {
  for (let i = 0; i < appends;) {
    try {
      const { last } = await log.append([record(firstId + i)], { expect: log.head })
      i++
      process.send?.([firstId + i - 1, Number(last)])
    } catch (error) {
      if (!(error instanceof LsnTakenError)) throw error
      lost++
      await world.timers.sleep(world.random.u32() % 8, undefined, true)
    }
  }
  await log.close()
  process.send?.({ lost, epoch: Number(log.epoch) }, undefined, undefined, () => process.disconnect())
}
