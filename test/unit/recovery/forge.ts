// Writes that stopped half-way, made by hand at any point: armed, sealed, promoted in part, damaged, prepared against what is no longer so. The store they are made in
// is then killed or closed, and what a sweep or heal makes of them is looked at.
import { onTestFinished } from 'vitest'

import { type Column, type OpenOptions, Store, type Table, t, table } from '../../../bindings/index.ts'
import { armArea, type Engine } from '../../../bindings/engine/index.ts'
import { encodeKeysFile, type Intent, type IntentFile, type IntentKind, type Participant, type TableChange } from '../../../bindings/format/index.ts'
import { xxh3 } from '../../../bindings/kernels/index.ts'
import { DirRoot, type Root } from '../../../bindings/root/index.ts'
import { newUlid, type World } from '../../../bindings/runtime/index.ts'
import type { StagingArea } from '../../../bindings/staging/index.ts'
import { type AnyTable, type ColumnBatch, encodeFragmentOn, KeyRun, toBatches } from '../../../bindings/table/index.ts'
import { FakeFiles, FaultyRoot } from '../../../bindings/testing/index.ts'
import { simWorld, type SimWorld } from '../../sim/sim-world.ts'

export const items: Table<'items', { id: Column<number, number, 'number'>; v: Column<string, string, 'order'> }, ['id']> = table(
  'items',
  { id: t.int32(), v: t.utf8() },
  { key: ['id'] },
)
export const notes: Table<'notes', { at: Column<number, number, 'number'>; text: Column<string, string, 'order'> }, []> = table('notes', {
  at: t.int32(),
  text: t.utf8(),
})

const QUIET: OpenOptions = { upkeep: 'manual', threads: 0 }
const DIRECTORY = '/data/store'

export interface ForgeOptions {
  readonly kind?: IntentKind
  readonly mode?: 'auto' | 'hold'
  readonly holdUntil?: Date
  readonly author?: string
  readonly rule?: Participant['rule']
  /** Ids of items, or `at` of notes. */
  readonly rows?: readonly number[]
  readonly table?: AnyTable
  /** The last word about the sealed form. */
  readonly alter?: (intent: Intent) => Intent
  readonly writeId?: string
  /** Its handle gave it up: default false, it dies with its process. */
  readonly orphaned?: boolean
}

/** A store on fake files: `kill` loses what only its process knew. */
export class Place {
  files: FakeFiles = new FakeFiles()
  sim!: SimWorld
  root!: FaultyRoot
  store!: Store
  process = 0

  static async open(o: OpenOptions = {}): Promise<Place> {
    const place = new Place()
    await place.start(o)
    await place.store.create(items, notes)
    onTestFinished(() => place.store.close().catch(() => undefined))
    return place
  }

  get world(): World {
    return this.sim.world
  }

  get engine(): Engine {
    return (this.store as unknown as { engine: Engine }).engine
  }

  /** The world and root of the next process, to arm failpoints and faults before it opens. */
  next(): void {
    const n = ++this.process
    this.sim = simWorld({
      seed: n,
      files: this.files,
      host: { pid: n, processStartTime: String(n), isAlive: (pid) => pid >= this.process },
      startMs: 1_700_000_000_000 + n * 1_000_000,
    })
    this.root = new FaultyRoot(new DirRoot(DIRECTORY, this.sim.world))
  }

  async start(o: OpenOptions = {}): Promise<Store> {
    if (this.prepared) this.prepared = false
    else this.next()
    this.store = await Store.open(this.root, { ...QUIET, ...o, world: this.sim.world })
    return this.store
  }

  private prepared = false

  /** Kills the process; start() opens in the next, whose world is there already. */
  kill(): void {
    this.files = this.files.restart()
    this.next()
    this.prepared = true
  }

  /** A power cut: what was not synced is dropped or kept by the seed. */
  crashed(seed: number): void {
    this.files = this.files.crash(seed)
    this.next()
    this.prepared = true
  }

  async killed(o: OpenOptions = {}): Promise<Store> {
    this.kill()
    return this.start(o)
  }

  /** Closes; start() opens again in the next process. */
  async close(): Promise<void> {
    await this.store.close()
    this.next()
    this.prepared = true
  }

  /** A second handle beside the first. */
  reader(): Promise<Store> {
    return Store.open(this.root, { world: this.sim.world, readOnly: true, threads: 0 }) as unknown as Promise<Store>
  }

  async staging(): Promise<string[]> {
    return this.names('staging/')
  }

  async names(prefix: string): Promise<string[]> {
    const names: string[] = []
    for await (const { name } of this.root.inner.list(prefix)) names.push(name)
    return names
  }

  /** Every file with its bytes. */
  async tree(): Promise<Map<string, string>> {
    const tree = new Map<string, string>()
    for (const name of await this.names('')) tree.set(name, Buffer.from((await this.root.inner.get(name)).bytes).toString('base64'))
    return tree
  }

  // forged writes

  /** Phases A and B: INTENT and files, nothing in the log. */
  async armed(o: ForgeOptions = {}): Promise<Forged> {
    return forge(this.engine, o)
  }

  /** Up to B': sealed, nothing promoted. */
  async sealed(o: ForgeOptions = {}): Promise<Forged> {
    const forged = await forge(this.engine, o)
    await forged.seal()
    return forged
  }
}

export interface Forged {
  readonly id: string
  readonly area: StagingArea
  readonly intent: Intent
  /** Names of its staged files. */
  readonly files: readonly string[]
  seal(): Promise<number>
}

export async function forge(engine: Engine, o: ForgeOptions = {}): Promise<Forged> {
  const { world, state, intents, committer } = engine.parts
  const given = o.table ?? notes
  const { view, state: tableState } = engine.binder.bind(given)
  const { schema } = tableState
  const rows = (o.rows ?? [1, 2, 3]).map((n) => (given === notes ? { at: n, text: `n${n}` } : { id: n, v: `v${n}` }))
  const isKeyed = schema.key.length > 0
  const known = state.catalog.table(schema.tableId)!
  const bare: Participant = {
    tableId: schema.tableId,
    incarnation: known.createdLsn,
    name: schema.name,
    op: o.kind === 'replace' ? 'replace' : isKeyed ? 'upsert' : 'append',
    expectedVersion: String(known.lastLsn),
    rule: o.rule ?? (isKeyed ? 'keys' : 'commute'),
    files: [],
    removes: [],
    addresses: [],
  }
  const kind = o.kind ?? (o.mode === 'hold' ? 'staged' : 'load')
  const armed = intents.arm({
    kind,
    mode: o.mode ?? 'auto',
    writeId: o.writeId ?? newUlid(world),
    participants: [bare],
    author: o.author,
    holdUntil: o.holdUntil,
  })
  const intent = o.alter === undefined ? armed : { ...o.alter(armed), participants: o.alter(armed).participants.map((each) => ({ ...each, files: [] })) }
  if (o.orphaned !== true) intents.begin(intent.writeId)
  const area = await armArea(engine, intent)
  const batches: ColumnBatch[] = []
  for await (const batch of toBatches(view, rows, {})) batches.push(batch)
  const fragment = await encodeFragmentOn(world.workers, { schema, batches })
  const staged = [await area.put('arrow', fragment.file, fragment.digest)]
  const files: IntentFile[] = [{ digest: fragment.digest, gen: 0, role: 'fragment', bytes: fragment.file.length, rows: rows.length }]
  if (fragment.index !== undefined) {
    staged.push(await area.put('idx', fragment.index.file, fragment.index.digest))
    files.push({ digest: fragment.index.digest, gen: 0, role: 'index', bytes: fragment.index.file.length, rows: 0 })
  }
  let keys: Participant['keys']
  if (isKeyed) {
    const run = new KeyRun(tableState.keyLayout!.stride)
    for (const batch of batches) tableState.keyLayout!.push(batch.columns, 0, batch.length, run)
    const hashes = new Uint32Array(run.rows * 2)
    for (let row = 0; row < run.rows; row++) {
      const { lo, hi } = xxh3(run.data.subarray(run.start(row), run.end(row)))
      hashes.set([lo, hi], row * 2)
    }
    const file = await area.put('keys', encodeKeysFile(hashes, []))
    staged.push(file)
    keys = { exact: file.digest, bytes: file.bytes }
  }
  await area.sync()
  const change: TableChange = {
    tableId: schema.tableId,
    schemaVersion: schema.version,
    op: bare.op as TableChange['op'],
    inserted: rows.length,
    updated: 0,
    deleted: 0,
    fragments: [fragment.ref],
  }
  const full = { ...bare, files, ...(keys === undefined ? {} : { keys }) }
  return {
    id: intent.writeId,
    area,
    intent,
    files: staged.map(({ digest, ext }) => `staging/${intent.writeId}/${digest}.${ext}`),
    seal: async () => {
      await area.settle()
      const sealed = intents.seal(armed, { participants: [full] })
      return committer.seal(o.alter === undefined ? sealed : o.alter(sealed), [change])
    },
  }
}

/** Items as `id:v`, notes as `at`, sorted. */
export async function contents(store: Pick<Store, 'scan'>): Promise<{ items: string[]; notes: number[] }> {
  const keyed = await store.scan(items).toArray()
  const unkeyed = await store.scan(notes).toArray()
  return { items: keyed.map(({ id, v }) => `${id}:${v}`).toSorted(), notes: unkeyed.map(({ at }) => at).toSorted((a, b) => a - b) }
}

export async function auditOf(store: Store, writeId: string): Promise<Awaited<ReturnType<typeof auditAll>>> {
  return (await auditAll(store)).filter((row) => row.writeId === writeId && row.kind !== 'seal')
}

export async function auditAll(
  store: Store,
): Promise<{ kind: string; by: string; writeId?: string; for?: string; reason?: string; tables: string[]; outcomes?: unknown }[]> {
  const rows = []
  for await (const row of store.audit()) rows.push(row)
  return rows
}

/** Bytes of one file, changed in place. */
export async function damage(root: Root, name: string, how: 'flip' | 'truncate' | 'delete' = 'flip'): Promise<void> {
  if (how === 'delete') return root.delete(name)
  const { bytes } = await root.get(name)
  const copy = how === 'truncate' ? bytes.slice(0, bytes.length >> 1) : bytes.slice()
  if (how === 'flip') copy[copy.length >> 1]! ^= 1
  await root.put(name, copy)
}
