// bench/ship/joining.ts: how fast a replica gets what it lacks, over loopback, beside a bare socket that copies the same files and hashes them:
// an empty one that catches up by the log, an empty one that is rebuilt, and one that shares 99 of 100 files with the base.
//
// The bare socket is asked twice: for a copy that is written and nothing else, and for one that is there as a replica's is when it says so: each file hashed by
// itself, synced under a temporary name, and named; the folder synced in the end. It has no frames, no checksums of them, no log and no acknowledgements.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { columns, Store, t, table } from '../../bindings/index.ts'
import { ship, type Shipping } from '../../bindings/shipping.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { ReplicaProcess } from './replicas.ts'

const FRAGMENTS = 100
const MIB = 1024 * 1024

/** One-row commits between two checkpoints: more than a segment of the log. */
const NOTES = 1000
/** As small as they go: the log is cut by whole segments. */
const OPTIONS = { upkeep: 'manual', segmentBytes: 64 * 1024 } as const

const notes = table('notes', { id: t.int64(), text: t.utf8() }, { key: ['id'] })
const points = table('points', { id: t.int64(), x: t.float64(), y: t.float64(), z: t.float64() }, { key: ['id'] })

export async function joining(suite: FigureSuite): Promise<void> {
  const rows = suite.quick ? 10_000 : 100_000
  const folder = freshFolder()
  let store = await Store.open(folder, { ...OPTIONS, inlineLimitBytes: 0 })
  await using _ = { [Symbol.asyncDispose]: () => store.close() }
  await store.create(points)
  for (let i = 0; i < FRAGMENTS; i++) await store.append(points, batch(i, rows))
  const bytes = sizeOf(join(folder, 'fragments')) + sizeOf(join(folder, 'indexes'))
  suite.fact('join.bytes', `${rounded(bytes / MIB)} MiB in ${FRAGMENTS} fragments`)

  const found = { written: [] as number[], synced: [] as number[], caughtUp: [] as number[] }
  const from = join(folder, 'fragments')
  for (let round = 0; round < (suite.quick ? 1 : 5); round++) {
    settleDisk()
    found.written.push(await bareCopy(from, freshFolder(), false))
    settleDisk()
    found.synced.push(await bareCopy(from, freshFolder(), true))
    settleDisk()
    found.caughtUp.push(bytes / MIB / ((await joined(store, freshFolder(), `c${round}`)).ms / 1000))
  }
  const ratio = (peer: readonly number[]): number => rounded(medianOf(found.caughtUp.map((rate, i) => rate / peer[i]!)))
  suite.fact('join.bare-socket', `${rounded(medianOf(found.written))} MB/s with SHA-256, not synced`)
  suite.fact('join.bare-socket.synced', `${rounded(medianOf(found.synced))} MB/s with SHA-256, each file synced and named`)
  suite.fact(
    'join.catch-up',
    `${rounded(medianOf(found.caughtUp))} MB/s (${ratio(found.written)} of the bare socket, ${ratio(found.synced)} of the one that syncs)`,
  )

  // Below the retention of the log: only a rebuild helps. The one that shares was in sync when 99 of 100 fragments were there.
  const sharing = freshFolder()
  await joined(store, sharing, 'shares')
  await store.append(points, batch(FRAGMENTS, rows))
  store = await trimmed(store, folder)
  settleDisk()
  const empty = await joined(store, freshFolder(), 'empty')
  settleDisk()
  const shared = await joined(store, sharing, 'shares')
  suite.fact('rebuild.empty', `${rounded(empty.bytes / MIB)} MiB in ${rounded(empty.ms)} ms (${empty.how})`)
  suite.fact('rebuild.sharing-99', `${rounded(shared.bytes / MIB)} MiB in ${rounded(shared.ms)} ms (${shared.how})`)
  suite.fact('rebuild.sharing-99.share-of-bytes', `${rounded((shared.bytes / empty.bytes) * 100)} %`)
  suite.fact('rebuild.sharing-99.share-of-time', `${rounded((shared.ms / empty.ms) * 100)} %`)
}

function batch(i: number, rows: number): never {
  const ids = BigInt64Array.from({ length: rows }, (_, row) => BigInt(i * rows + row))
  // Digits without a pattern: what is measured is moving bytes, not compressing them.
  const noise = (salt: number): Float64Array => Float64Array.from({ length: rows }, (_, row) => Math.sin((i * rows + row) * 12.9898 + salt) * 43758.5453)
  // The table says what the columns are.
  return columns({ id: ids, x: noise(1), y: noise(2), z: noise(3) }) as never
}

/** Until it is in sync. */
async function joined(store: Store, folder: string, id: string): Promise<{ ms: number; bytes: number; how: string }> {
  await using replica = await ReplicaProcess.start(folder, id)
  const started = performance.now()
  await using shipping: Shipping = await ship(store, {
    replicas: [{ id, endpoint: replica.endpoint, role: 'learner' }],
  })
  await shipping.settled()
  const ms = performance.now() - started
  const plan = shipping.log.eventsFor(id as never).findLast(({ event }) => event.startsWith('plan_'))
  return { ms, bytes: shipping.status().replicas[0]!.bytes, how: plan?.event ?? 'no plan' }
}

/** The log below the newest checkpoints goes, so that whoever is behind them needs a base. A checkpoint is made when the store closes; @returns it open again */
async function trimmed(given: Store, folder: string): Promise<Store> {
  await given.close()
  // Notes are rows of the log, not files.
  let store = await Store.open(folder, OPTIONS)
  await store.create(notes)
  const end = store.lsn
  for (let checkpoint = 0, id = 0; checkpoint < 3; checkpoint++) {
    await Promise.all(Array.from({ length: NOTES }, () => store.upsert(notes, [{ id: BigInt(++id), text: `note ${id}` }])))
    await store.flush()
    await store.close()
    store = await Store.open(folder, OPTIONS)
  }
  const { tail } = await store.vacuum({ keep: { versions: 1 } })
  if (tail <= end) throw new Error(`the log begins after ${tail}: nobody needs a base for ${end}`)
  return store
}

/** One connection: every file of the folder, hashed by the receiver and written. @returns MB/s */
async function bareCopy(from: string, to: string, isSynced: boolean): Promise<number> {
  const files = filesOf(from)
  const sizes = files.map((file) => statSync(file).size)
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const received = new Promise<void>((resolve, reject) => {
    server.once('connection', (socket) => {
      let parts: Buffer[] = []
      let [n, left] = [0, sizes[0]!]
      let hash = createHash('sha256')
      const writing: Promise<void>[] = []
      const take = (chunk: Buffer): void => {
        const own = chunk.subarray(0, left)
        hash.update(own)
        parts.push(own)
        left -= own.length
        if (left > 0) return
        writing.push(store(join(to, hash.digest('hex')), parts, isSynced))
        ;[parts, hash, left] = [[], createHash('sha256'), sizes[++n] ?? 0]
        if (own.length < chunk.length) take(chunk.subarray(own.length))
      }
      socket.on('data', take)
      socket.on('error', reject)
      socket.on('end', () => {
        Promise.all(writing)
          .then(() => (isSynced ? syncFolder(to) : undefined))
          .then(resolve, reject)
      })
    })
  })
  const started = performance.now()
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  await once(socket, 'connect')
  for (const file of files) if (!socket.write(readFileSync(file))) await once(socket, 'drain')
  socket.end()
  await received
  server.close()
  return sizes.reduce((sum, size) => sum + size, 0) / MIB / ((performance.now() - started) / 1000)
}

async function store(path: string, parts: readonly Buffer[], isSynced: boolean): Promise<void> {
  const file = await open(`${path}.part`, 'w')
  try {
    await file.writev(parts)
    if (isSynced) await file.datasync()
  } finally {
    await file.close()
  }
  await rename(`${path}.part`, path)
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

function sizeOf(folder: string): number {
  try {
    return filesOf(folder).reduce((sum, file) => sum + statSync(file).size, 0)
  } catch {
    return 0
  }
}
