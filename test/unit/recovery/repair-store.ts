// unit/recovery/repair-store.ts: a small store with every kind of file on fake files, ways to damage it, and what a repair of it is checked by.
import { expect } from 'vitest'

import { type Column, type OpenOptions, type RepairReport, Store, t, type Table, table } from '../../../bindings/index.ts'
import { encodeIntent, type Intent } from '../../../bindings/format/index.ts'
import { FakeFiles } from '../../../bindings/testing/index.ts'
import { simWorld } from '../../sim/sim-world.ts'

export const PLACE = '/data/store'
export const AT: string = `${PLACE}/`

const accounts = table('accounts', { id: t.int64(), name: t.utf8(), sum: t.int32() }, { key: ['id'] })
const events = table('events', { n: t.int32() })

/** For tests that make a store of their own. */
export const TABLES: {
  readonly accounts: Table<
    'accounts',
    { id: Column<bigint, bigint | number, 'order'>; name: Column<string, string, 'order'>; sum: Column<number, number, 'number'> },
    ['id']
  >
  readonly events: Table<'events', { n: Column<number, number, 'number'> }, []>
} = { accounts, events } as never

export interface Built {
  readonly files: FakeFiles
  /** `id:name` and event numbers at each LSN that is a commit, ascending. */
  readonly states: readonly { readonly lsn: number; readonly text: string }[]
}

export const world = (files: FakeFiles, pid: number): object => simWorld({ seed: pid, files, host: { pid, processStartTime: `${pid}` } }).world
export const options = (files: FakeFiles, pid: number): OpenOptions => ({ world: world(files, pid), threads: 0, upkeep: 'manual' })

/** Three sessions: fragments with indexes and deletion vectors, several segments, two checkpoints, a clean close. */
export async function build(): Promise<Built> {
  const files = new FakeFiles()
  const states: { lsn: number; text: string }[] = []
  const open = async (pid: number): Promise<Store> =>
    await Store.open(PLACE, { ...options(files, pid), upkeep: 'auto', segmentBytes: 65_536, inlineLimitBytes: 4096 })
  const note = async (store: Store, { lsn }: { lsn: bigint }): Promise<void> => void states.push({ lsn: Number(lsn), text: await textOf(store) })
  let store = await open(1)
  await store.create(accounts, events)
  const rows = (from: number, count: number, name: string): { id: bigint; name: string; sum: number }[] =>
    Array.from({ length: count }, (_, i) => ({ id: BigInt(((from + i) * 7919) % 100_003), name: `${name} ${i}`, sum: i }))
  await note(store, await store.append(accounts, rows(0, 1500, 'first load')))
  await note(store, await store.upsert(accounts, rows(200, 1200, 'second load')))
  await note(store, await store.upsert(accounts, rows(100, 10, 'late')))
  await store.flush()
  for (let i = 0; i < 10; i++) await note(store, await store.append(events, { n: i }))
  await store.close()
  store = await open(2)
  for (let i = 10; i < 20; i++) await note(store, await store.append(events, { n: i }, { message: `event ${i}`, author: 'ada' }))
  await note(store, await store.delete(accounts, { id: 0n }))
  await store.flush()
  await store.close()
  store = await open(3)
  for (let i = 20; i < 26; i++) await note(store, await store.append(events, { n: i }))
  await store.close()
  return { files: files.restart(), states }
}

export async function textOf(store: { scan: Store['scan'] }): Promise<string> {
  const people = (await store.scan(accounts).toArray()).map(({ id, name }) => `${id}:${name}`).sort()
  const numbers = (await store.scan(events).toArray()).map(({ n }) => n).sort((a, b) => a - b)
  return `${people.join(',')} | ${numbers.join(',')}`
}

// damage

export type Damage = (files: FakeFiles) => void

export const contents = (files: FakeFiles, path: string): Uint8Array => files.contents(path)!
export const find = (files: FakeFiles, pattern: RegExp): string[] => files.paths().filter((path) => pattern.test(path))
export const segments = (files: FakeFiles): string[] => find(files, /log\/\d+\.wal$/)
export const names = (files: FakeFiles): string[] => files.paths().map((path) => path.slice(AT.length))

export function flip(files: FakeFiles, path: string, at: number): void {
  files.corrupt(path, at, Uint8Array.of(contents(files, path)[at]! ^ 0x10))
}

/** As a broken disk or a person would: the name leads to these bytes. */
export function overwrite(files: FakeFiles, path: string, bytes: Uint8Array | string): void {
  if (files.contents(path) !== undefined) files.unlinkSync(path)
  const handle = files.openSync(path, 'wx')
  handle.writeSync(0, typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes)
  handle.datasyncSync()
  handle.closeSync()
}

/** Every file and its bytes. */
export function treeOf(files: FakeFiles): Map<string, string> {
  return new Map(files.paths().map((path) => [path, Buffer.from(contents(files, path)).toString('latin1')]))
}

/** Opens for writing, looks at everything, closes. */
export async function checked(files: FakeFiles, pid: number): Promise<{ text: string; audits: { kind: string; by: string }[] }> {
  const store = await Store.open(PLACE, options(files, pid))
  try {
    const report = await store.verify({ level: 'all' })
    expect(report.problems).toEqual([])
    const audits: { kind: string; by: string }[] = []
    for await (const { kind, by } of store.audit()) if (by === 'varve:repair') audits.push({ kind, by })
    return { text: await textOf(store), audits }
  } finally {
    await store.close()
  }
}

export const repair = async (files: FakeFiles, pid: number, o: { confirm?: boolean; dropAfter?: bigint } = {}): Promise<RepairReport> =>
  await Store.repair(PLACE, { ...(o as object), world: world(files, pid) })

export const ARMED = '01JD3Q0V6W2M5K8YB1ZC4E7N9T'
export const OTHER = '01JD3Q0V6W2M5K8YB1ZC4E7N9V'

/** An INTENT whose writer is gone. */
export function intent(writeId: string, given: Partial<Intent> = {}): Uint8Array {
  const body: Intent = {
    schemaVersion: 1,
    writeId,
    kind: 'load',
    mode: 'auto',
    branch: 'main',
    branchId: '00000000000000000000000000',
    baseLsn: '3',
    schemaDigest: 'none',
    owner: { writerId: OTHER, epoch: '1', host: 'fake', pid: 77, started: '77' },
    createdAt: '2026-01-01T00:00:00.000Z',
    participants: [],
    registrations: [],
    tombstones: [],
    nonce: '00112233445566778899aabbccddeeff',
  }
  return encodeIntent({ ...body, ...given })
}

export async function putStaged(files: FakeFiles, writeId: string, bytes: Uint8Array | string, others: readonly string[] = []): Promise<void> {
  for (const dir of [`${AT}staging`, `${AT}staging/${writeId}`]) {
    try {
      files.mkdirSync(dir)
    } catch {
      // There already.
    }
  }
  overwrite(files, `${AT}staging/${writeId}/INTENT`, bytes)
  for (const name of others) overwrite(files, `${AT}staging/${writeId}/${name}`, `bytes of ${name}`)
}
