// upkeep/vacuum-files.ts: what lies under the content addresses, and what of it is old enough to go.
//
// On a log of one writer its LOCK says that nobody else is storing anything. Elsewhere a file may be one that an open write has just put: it is left for a day, and
// until every write that was armed before it is sealed or decided. Both by the times that the storage tells.
// Invariant: names are listed before INTENTs (recovery.md section 10): a write that is armed later finds the names that were listed taken.

import { isNotFound, type Root } from '../root/index.ts'
import type { Engine } from '../engine/index.ts'
import { StorageError, VarveError } from '../errors.ts'
import { decodeIntent, type Intent, INTENT_NAME, isContentName, STAGING_PREFIX, toHex } from '../format/index.ts'
import { newUlid, ulidBytes } from '../runtime/index.ts'

const GRACE_MS = 24 * 3600 * 1000
const FOLDERS = ['fragments/', 'indexes/'] as const

export interface FoundFile {
  readonly name: string
  readonly bytes: number
  readonly timeMs: number | undefined
}

/** Every content-addressed file but those in `kept`. What else lies there nobody can have named: it stays. */
export async function listUnkept(root: Root, kept: ReadonlySet<string>, signal: AbortSignal | undefined): Promise<FoundFile[]> {
  const found: FoundFile[] = []
  for (const folder of FOLDERS) {
    for await (const { name, size, timeMs } of root.list(folder, signal === undefined ? {} : { signal })) {
      if (!kept.has(name) && isContentName(name)) found.push({ name, bytes: size, timeMs })
    }
  }
  return found
}

export interface Age {
  /** What was stored before it may go. */
  readonly beforeMs: number
  /** `grace`, or `write <id>`. */
  readonly by: string
}

/** How old a file must be; undefined: any age will do. */
export async function ageNeeded(engine: Engine): Promise<Age | undefined> {
  const { log } = engine.parts
  if (!log.shared) return undefined
  const now = await storageTime(engine)
  const grace: Age = { beforeMs: now - GRACE_MS, by: 'grace' }
  const open = await oldestOpen(engine)
  return open !== undefined && open.beforeMs < grace.beforeMs ? open : grace
}

/** The clock of the storage: the time that something stored now gets. */
async function storageTime({ parts: { root, world } }: Engine): Promise<number> {
  const name = `probe/vacuum-${newUlid(world)}`
  await root.put(name, new Uint8Array(0))
  try {
    for await (const found of root.list('probe/')) if (found.name === name && found.timeMs !== undefined) return found.timeMs
  } finally {
    await root.delete(name)
  }
  // Nobody can tell how old anything is.
  return Number.NEGATIVE_INFINITY
}

/** The oldest INTENT that is neither sealed nor decided: files of its write are named nowhere yet. One that cannot be read may be anybody's. */
async function oldestOpen(engine: Engine): Promise<Age | undefined> {
  let oldest: Age | undefined
  for await (const { writeId, name, timeMs } of listOpen(engine)) {
    if (oldest !== undefined && timeMs >= oldest.beforeMs) continue
    if ((await readOpen(engine, name)) !== undefined) oldest = { beforeMs: timeMs, by: `write ${writeId}` }
  }
  return oldest
}

/** Of writes that are neither sealed nor decided. */
export async function openIntents(engine: Engine): Promise<Intent[]> {
  const intents: Intent[] = []
  for await (const { name } of listOpen(engine)) {
    const intent = await readOpen(engine, name)
    if (typeof intent === 'object') intents.push(intent)
  }
  return intents
}

async function* listOpen({
  parts: { root, store },
}: Engine): AsyncGenerator<{ readonly writeId: string; readonly name: string; readonly timeMs: number }, undefined> {
  const { outcomes } = store.catalog
  for await (const { name, timeMs = Number.NEGATIVE_INFINITY } of root.list(STAGING_PREFIX)) {
    const [, writeId, file] = name.split('/')
    if (file !== INTENT_NAME || writeId === undefined) continue
    const id = idOf(writeId)
    if (id === undefined || (outcomes.of(id) === undefined && !outcomes.pending.has(id))) yield { writeId, name, timeMs }
  }
}

function idOf(writeId: string): string | undefined {
  try {
    return toHex(ulidBytes(writeId))
  } catch {
    return undefined
  }
}

/** undefined: gone, or so old that its outcome may be forgotten. */
async function readOpen({ parts: { root, store } }: Engine, name: string): Promise<Intent | 'unreadable' | undefined> {
  try {
    const intent = decodeIntent((await root.get(name)).bytes, name)
    return Number(intent.baseLsn) >= store.catalog.outcomes.floor ? intent : undefined
  } catch (error) {
    if (isNotFound(error)) return undefined
    if (error instanceof StorageError || !(error instanceof VarveError)) throw error
    return 'unreadable'
  }
}
