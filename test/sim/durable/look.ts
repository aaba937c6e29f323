// What an open store shows against the model, and what a recovery left on disk as texts that two recoveries can be compared by.

import '../../loaded.ts'
import { FRAME_HEADER_BYTES, readMarkPayload, SEGMENT_HEADER_BYTES } from '../../../bindings/format/index.ts'
import { HistoryUnavailableError, type ReadStore } from '../../../bindings/index.ts'
import { xxh3BigInt } from '../../../bindings/kernels/index.ts'
import type { FakeFiles } from '../../../bindings/testing/index.ts'
import { type AnyRow, rowText, type State, stateRows, type TableName, TABLES } from '../store-model.ts'
import type { Dice } from './dice.ts'
import { type Life, PLACE, type Sealed, type Version } from './life.ts'
import type { Named } from './named.ts'

const texts = new WeakMap<object, string>()

function modelText(state: State, name: TableName): string {
  let text = texts.get(state[name])
  if (text === undefined) texts.set(state[name], (text = rowsText(name, stateRows(state, name))))
  return text
}

function rowsText(name: TableName, rows: readonly AnyRow[]): string {
  return rows
    .map((row) => rowText(name, row))
    .sort()
    .join('\n')
}

/** What is wrong with the store, which should show this version; undefined: nothing. */
export async function differs(reader: ReadStore, version: Version): Promise<string | undefined> {
  const tables = await reader.tables()
  const names = tables.map(({ name }) => name).sort()
  if (names.join() !== [...version.tables].sort().join()) return `tables ${names.join()} instead of ${version.tables.join()}`
  for (const name of version.tables) {
    const expected = stateRows(version.state, name).length
    const told = tables.find((each) => each.name === name)!.rows
    if (told !== expected) return `${name} says ${told} rows instead of ${expected}`
  }
  return differsInRows(reader, version)
}

async function differsInRows(reader: ReadStore, { tables, state }: Version, at?: string | bigint): Promise<string | undefined> {
  for (const name of tables) {
    const rows = (await reader.scan(TABLES[name], at === undefined ? {} : { at: at as never }).toArray()) as unknown as AnyRow[]
    if (rowsText(name, rows) !== modelText(state, name)) return `${name} has other rows (${rows.length}, expected ${stateRows(state, name).length})`
  }
  return undefined
}

/** Branches and tags at the end of a log: which there are, and the rows of one of them. */
export async function differsInNamed(store: ReadStore, named: readonly Named[], lsn: number, dice: Dice): Promise<string | undefined> {
  const told = {
    branch: new Set((await store.branches()).map(({ name }) => name)),
    tag: new Set((await store.tags()).map(({ name }) => name)),
  }
  told.branch.delete('main')
  const there: Named[] = []
  for (const each of named) {
    const isThere = told[each.kind].delete(each.name)
    if (isThere === !(each.isThere(lsn) ?? isThere)) return `${each.kind} ${each.name} ${isThere ? 'is there' : 'is not there'}`
    if (isThere) there.push(each)
  }
  if (told.branch.size + told.tag.size > 0) return `nobody made ${[...told.branch, ...told.tag].join()}`
  if (there.length === 0) return undefined
  const one = dice.pick(there)
  const wrong = await differsInRows(store, one.versionAt(lsn), one.name)
  return wrong === undefined ? undefined : `${one.kind} ${one.name}: ${wrong}`
}

/** Some version of main that was there before: shown as it was, or refused where a vacuum that the log has gave it up. */
export async function differsInPast(store: ReadStore, life: Life, lsn: number, dice: Dice): Promise<string | undefined> {
  const before = life.versions.filter((version) => version.lsn > 0 && version.lsn <= lsn)
  const floor = life.floorAt(lsn)
  const kept = before.filter((version) => version.lsn >= floor)
  const from = kept.length > 0 && dice.once(2) ? kept : before
  if (from.length === 0) return undefined
  const version = dice.pick(from)
  try {
    const wrong = await differsInRows(store, version, BigInt(version.lsn))
    return wrong === undefined ? undefined : `the version of LSN ${version.lsn}: ${wrong}`
  } catch (error) {
    if (!(error instanceof HistoryUnavailableError)) throw error
    return version.lsn < floor ? undefined : `the version of LSN ${version.lsn} is refused (${error.message}); kept is everything from ${floor} on`
  }
}

/** Staged writes that wait for a decision at the end of a log, against what the store says and what lies under staging/. */
export async function differsInStaged(store: ReadStore, files: FakeFiles, sealed: readonly Sealed[], lsn: number): Promise<string | undefined> {
  if (sealed.length === 0) return undefined
  const told = new Set<string>((await store.staged()).map(({ writeId }) => writeId))
  for (const each of sealed) {
    const waits = each.waits(lsn)
    if (waits !== undefined && waits !== told.delete(each.id)) return `staged write ${each.id} ${waits ? 'is gone' : 'waits'}, at LSN ${lsn}`
    told.delete(each.id)
  }
  if (told.size > 0) return `staged writes that nobody sealed: ${[...told].join()}`
  const lead = `${PLACE}/staging/`
  const owned = new Set(sealed.filter((each) => each.waits(lsn) !== false).map(({ id }) => id))
  // Temporary names are the sweep's, an hour later.
  const left = files.paths().find((path) => path.startsWith(lead) && !path.endsWith('.tmp') && !owned.has(path.slice(lead.length).split('/')[0]!))
  return left === undefined ? undefined : `${left} has no owner after the open`
}

const SEGMENT = new RegExp(`^${PLACE}/log/(\\d{20})\\.wal$`)
const CHECKPOINT = new RegExp(`^${PLACE}/checkpoints/(\\d{20})\\.ckpt$`)
const TORN = new RegExp(`^${PLACE}/quarantine/(\\d{20})\\.wal-\\d+\\.torn$`)

/** The LSN up to which the newest open found records, and the digest of the chain there, as the first mark of the segment it began states it. */
export function foundAt(files: FakeFiles): { lsn: number; digest: string } {
  const newest = files.paths().findLast((path) => SEGMENT.test(path))!
  const mark = readMarkPayload(files.contents(newest)!, SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES)
  return { lsn: Number(SEGMENT.exec(newest)![1]) - 1, digest: Buffer.from(mark.digest).toString('hex') }
}

/**
 * Everything that a recovery which found the log ending at `lsn` must leave the same however often it was begun: each segment that began at or below it, whole,
 * footer and what lies behind it included; checkpoints up to it; fragments, indexes, staged files and quarantine; VARVE. Left out, because each open
 * writes its own: segments of the opens themselves (their epoch records) and what a crash tore off those, LOCK, NODE, CLEAN, temporary names.
 */
export function leftBy(files: FakeFiles, lsn: number): Map<string, string> {
  const left = new Map<string, string>()
  for (const path of files.paths()) {
    const name = path.slice(PLACE.length + 1)
    if (/^(LOCK\.\d+|NODE|CLEAN)$/.test(name) || name.endsWith('.tmp')) continue
    const at = Number((SEGMENT.exec(path) ?? CHECKPOINT.exec(path) ?? TORN.exec(path))?.[1] ?? 0)
    if (at > lsn) continue
    left.set(name, textOf(files.contents(path)!))
  }
  return left
}

/** The first difference of two such trees; undefined: none. */
export function otherwise(once: ReadonlyMap<string, string>, twice: ReadonlyMap<string, string>): string | undefined {
  for (const [name, text] of once) {
    const other = twice.get(name)
    if (other === undefined) return `${name} is there after one recovery and gone after two`
    if (other !== text) return `${name} has other bytes after two recoveries (${text}, ${other})`
  }
  for (const name of twice.keys()) if (!once.has(name)) return `${name} is there after two recoveries and not after one`
  return undefined
}

function textOf(bytes: Uint8Array): string {
  return `${bytes.length} bytes, xxh3 ${xxh3BigInt(bytes).toString(16)}`
}
