// cli/demo/replicate.ts: the last chapter: a replica in a process of its own joins, catches up, is killed, falls behind further than the log reaches, and is rebuilt.
//
// Invariant: that it is equal is never the replica's word: its folder is read here, its chain of digests and its files are held against the store's.
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type ReadStore, Store } from '../../index.ts'
import { ship, type Shipping } from '../../shipping.ts'
import { CliError } from '../failure.ts'
import { bytesText, countText, durationText, rateText, tableLines } from '../render.ts'
import { start } from './crash.ts'
import { beside } from './evolve.ts'
import type { Report } from './report.ts'
import { bookingOf, bookings, flights } from './tables.ts'

export const REPLICA = 'replica'
const ID = 'r1'
const COMMITS = 2_000
const MISSED = 500
/** Ids that no earlier chapter uses. */
const FROM = 2_000_000n
const DIGEST_SHOWN = 32

export async function replicate(report: Report, path: string, signal: AbortSignal): Promise<void> {
  const folder = beside(path, REPLICA)
  const store = await Store.open(path, { create: 'never', signal })
  try {
    await join(report, store, folder)
    await fallBehind(report, store, folder)
    await compare(report, store, folder)
  } finally {
    await store.close()
  }
}

async function join(report: Report, store: Store, folder: string): Promise<void> {
  await report.step('A replica joins: another process, empty, over loopback')
  const replica = await startReplica(folder)
  try {
    let startMs = performance.now()
    const shipping = await ship(store, { replicas: [{ id: ID, endpoint: replica.endpoint }] })
    try {
      await shipping.settled()
      let ms = performance.now() - startMs
      const { bytes, files } = shipping.status().replicas[0]!
      report.figure('a replica joins', ms, 'ms', `${durationText(ms)}, ${bytesText(bytes)} in ${countText(files)} files`)
      const rows = await countOf(store)
      await report.check(`it has every flight (${durationText(ms)}, ${bytesText(bytes)})`, rows, await countIn(folder))
      startMs = performance.now()
      await Promise.all(Array.from({ length: COMMITS }, (_, i) => store.append(bookings, bookingOf(FROM + BigInt(i)))))
      await shipping.settled()
      ms = performance.now() - startMs
      report.figure('commits, live on the replica', ms, 'ms', rateText(COMMITS, ms, 'commits'))
      await report.check(
        `${countText(COMMITS)} commits later it is at the same position (${rateText(COMMITS, ms, 'commits')})`,
        [store.lsn, 'in_sync'],
        [shipping.status().replicas[0]!.durableLsn, shipping.status().replicas[0]!.state],
      )
      await replica.kill()
      await lost(shipping)
      const { lsn } = await store.append(bookings, bookingOf(FROM - 1n))
      await report.check('it is killed by SIGKILL; the primary sees it, and goes on to commit', [0, store.lsn], [shipping.status().inSync, lsn])
    } finally {
      await shipping.close()
    }
    await report.check('nothing is held back for it any more', 0, (await store.pins()).length)
  } finally {
    await replica.kill()
  }
}

/** Until its primary has seen that it is gone. */
async function lost(shipping: Shipping): Promise<void> {
  if (shipping.status().inSync === 0) return
  const { promise, resolve } = Promise.withResolvers<void>()
  using _ = shipping.on('state', ({ from }) => {
    if (from === 'in_sync') resolve()
  })
  await promise
}

async function fallBehind(report: Report, store: Store, folder: string): Promise<void> {
  await report.step('While it is away the log is trimmed: it cannot catch up, and is rebuilt from a base')
  await Promise.all(Array.from({ length: MISSED }, (_, i) => store.append(bookings, bookingOf(FROM + BigInt(COMMITS + i)))))
  // Two checkpoints are kept: what lies below the older one goes.
  for (let i = 0; i < 3; i++) {
    await store.append(bookings, bookingOf(FROM + BigInt(COMMITS + MISSED + i)))
    await store.flush()
    await store.vacuum({ keep: { versions: 1 } })
  }
  const { log } = await store.stats()
  await report.say([`the log begins after LSN ${log.tail} now`])
  const replica = await startReplica(folder)
  try {
    const startMs = performance.now()
    const shipping = await ship(store, { replicas: [{ id: ID, endpoint: replica.endpoint }] })
    try {
      await shipping.settled()
      const ms = performance.now() - startMs
      const events = shipping.log.events().map(({ event }) => event)
      const { bytes, files } = shipping.status().replicas[0]!
      report.figure('it is rebuilt', ms, 'ms', `${durationText(ms)}, ${bytesText(bytes)} in ${countText(files)} files: it had the others`)
      await report.check('it was rebuilt, not caught up', true, events.includes('exec_rebuild_completed'))
      await report.check('and is in sync again', [store.lsn, 'in_sync'], [shipping.status().replicas[0]!.durableLsn, shipping.status().replicas[0]!.state])
    } finally {
      await shipping.close()
    }
  } finally {
    await replica.kill()
  }
}

async function compare(report: Report, store: Store, folder: string): Promise<void> {
  await report.step('Are they equal? Digests of both')
  const verified = await store.verify({ level: 'files', against: folder })
  const other = await Store.open(folder, { readOnly: true })
  try {
    const copy = await other.verify({ level: 'files' })
    const hex = (digest: Uint8Array | undefined): string => (digest === undefined ? '' : Buffer.from(digest).toString('hex').slice(0, DIGEST_SHOWN))
    const { against } = verified
    await report.say(
      tableLines(
        ['', 'LSN', 'chain digest', 'files with the same bytes'],
        [
          ['store', String(verified.lsn), hex(verified.digest), ''],
          ['replica', String(copy.lsn), hex(copy.digest), `${countText(against?.files ?? 0)}, state ${hex(against?.state).slice(0, 16)}`],
        ],
        ['left', 'right'],
      ),
    )
    await report.check(
      'one chain digest, one folded state, the same bytes in every file',
      [true, true, []],
      [against?.equal, hex(verified.digest) === hex(copy.digest), [...verified.problems, ...copy.problems]],
    )
  } finally {
    await other.close()
  }
}

async function countOf(store: ReadStore): Promise<number> {
  return await store.scan(await store.table(flights.name)).count()
}

async function countIn(folder: string): Promise<number> {
  const copy = await Store.open(folder, { readOnly: true })
  try {
    return await countOf(copy)
  } finally {
    await copy.close()
  }
}

interface Started {
  readonly endpoint: string
  /** SIGKILL; twice is fine. */
  kill(): Promise<void>
}

async function startReplica(folder: string): Promise<Started> {
  const child = start([folder, 'replica', ID])
  const ended = once(child, 'close')
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const { value: endpoint, done } = await lines.next()
  if (done === true) throw new CliError(`the replica failed: ${errors.trim()}`, 'Run the demo with --debug.')
  return {
    endpoint,
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}
