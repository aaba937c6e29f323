// The process that is killed: commits numbered writes as fast as it can, tells what it began and what was acknowledged, and never ends by itself.
//
//   argv: directory, first number, commits in flight, durability.   stdout: "opening", "ready", then "s n" (begun) and "a n lsn" (acknowledged), a line each

import { writeSync } from 'node:fs'

import { Store } from '../../bindings/index.ts'
import {
  counters,
  hot,
  kindOf,
  left,
  leftRow,
  loadColumns,
  loads,
  noteRow,
  notes,
  PARTS,
  right,
  rightRow,
  singleRow,
  singles,
  slotOf,
  TABLES,
  targetOf,
} from './plan.ts'

const [directory, first, inFlight, durability] = process.argv.slice(2)

function tell(line: string): void {
  const bytes = Buffer.from(`${line}\n`)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
}

tell('opening')
const store = await Store.open(directory!, {
  durability: durability as 'synced',
  segmentBytes: 64 * 1024,
  inlineLimitBytes: 4096,
})
await store.create(...TABLES)
// What an earlier life sealed is for its user to decide.
for (const { writeId, message } of await store.staged()) {
  const write = await store.resume(writeId)
  if (Number(message) % 2 === 0) await write.publish()
  else await write.rollback()
}
tell('ready')

const acknowledged = new Set<number>()

async function commit(n: number): Promise<void> {
  let lsn = 0n
  switch (kindOf(n)) {
    case 'single':
      lsn = (await store.upsert(singles, singleRow(n))).lsn
      break
    case 'hot':
      lsn = (await store.upsert(hot, { slot: slotOf(n), n })).lsn
      break
    case 'load':
      lsn = (await store.append(loads, loadColumns(n))).lsn
      break
    case 'delete':
      if (kindOf(targetOf(n)) !== 'single' || !acknowledged.has(targetOf(n))) return
      tell(`d ${n}`)
      lsn = (await store.delete(singles, [{ n: targetOf(n) }] as never)).lsn
      break
    case 'multi':
      await store.transact(
        (tx) => {
          tx.upsert(left, leftRow(n))
          tx.append(
            right,
            Array.from({ length: PARTS }, (_, part) => rightRow(n, part)),
          )
          tx.append(notes, noteRow(n))
        },
        { onCommitted: (result) => (lsn = result.lsn) },
      )
      break
    case 'staged': {
      await using write = await store.stage(String(n))
      await write.upsert(left, leftRow(n))
      await write.append(
        right,
        Array.from({ length: PARTS }, (_, part) => rightRow(n, part)),
      )
      await write.append(notes, noteRow(n))
      await write.seal()
      lsn = (await write.publish()).lsn
      break
    }
    case 'count':
      await store.transact(
        async (tx) => {
          const row = (await tx.get(counters, { name: 'all' } as never)) as { value: number } | undefined
          tx.upsert(counters, { name: 'all', value: (row?.value ?? 0) + 1 })
        },
        { retries: 1000, onCommitted: (result) => (lsn = result.lsn) },
      )
  }
  acknowledged.add(n)
  tell(`a ${n} ${lsn}`)
}

let next = Number(first)

async function lane(): Promise<never> {
  for (;;) {
    const n = next++
    tell(`s ${n}`)
    await commit(n)
  }
}

async function flushing(): Promise<never> {
  for (;;) {
    await store.flush()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

await Promise.all([...Array.from({ length: Number(inFlight) }, lane), flushing()])
