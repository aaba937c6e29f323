// A real process that uses the log of a directory; driven by segment-log-processes.test.ts.
//   node segment-log-child.ts <append|hold> <directory> [...]
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs'

import { LockHeldError, VarveError } from '../../bindings/errors.ts'
import { openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { nodeWorld } from '../../bindings/runtime/index.ts'

const [mode, path, rounds] = process.argv.slice(2) as [string, string, string | undefined]
const world = nodeWorld()
const storeId = new Uint8Array(16).fill(6)
const say = (line: string): void => void writeSync(1, `${line}\n`)

/** Appends for ever, eight at a time; says each id once it is acknowledged. */
async function append(): Promise<void> {
  const log = await openSegmentLog(new DirRoot(path, world), { world, storeId, segmentBytes: 65_536 })
  say(`open ${log.epoch}`)
  let next = Number(log.head) * 1000
  const work = async (): Promise<void> => {
    for (;;) {
      const id = next++
      const payload = new Uint8Array(60)
      new DataView(payload.buffer).setUint32(0, id, true)
      await log.append([{ kind: 2, payload }])
      say(`ack ${id}`)
    }
  }
  await Promise.all(Array.from({ length: 8 }, work))
}

/** Opens and closes; while it is the owner nobody else may be. */
async function hold(): Promise<void> {
  let held = 0
  const flag = `${path}.held`
  for (let i = 0; i < Number(rounds); i++) {
    try {
      const log = await openSegmentLog(new DirRoot(path, world), { world, storeId, segmentBytes: 8192, openRetry: { delaysMs: [] } })
      closeSync(openSync(flag, 'wx'))
      held++
      await world.timers.sleep(1, undefined, true)
      unlinkSync(flag)
      await log.close()
    } catch (error) {
      if (!(error instanceof LockHeldError)) throw error
      await world.timers.sleep(1, undefined, true)
    }
  }
  say(`held ${held}`)
}

try {
  await (mode === 'append' ? append() : hold())
} catch (error) {
  say(`error ${error instanceof VarveError ? error.code : String(error)}`)
}
