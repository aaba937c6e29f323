// write/sealed-table.ts: one table of a sealed write on its way to being published: may it follow what is there now, and which older rows it replaces
// (recovery.md sections 3 and 4). Everything is read from the seal and its files, so it is the same for the handle that staged it and for one after a crash.
//
// Invariant: check() and look() read; isStale(), takeLate() and changes() are synchronous and belong into one step with the queueing of the record.

import { type AdmittedChange, conflict, HideSet, keyBytesOf, keyText, lateTuples, NOW, placesOf, READ_ROUNDS, tupleOf } from '../engine/index.ts'
import { ConflictError } from '../errors.ts'
import type { PendingSeal } from '../catalog/index.ts'
import { type FileGeneration, type FragmentRef, hasKeyHash, type KeysFile, type Participant, promotedRef, type TableChange } from '../format/index.ts'
import { xxh3 } from '../kernels/index.ts'
import {
  findKeys,
  findKeySync,
  type KeyLayout,
  KeyRun,
  Pace,
  type Place,
  resolveView,
  type RowKeys,
  type Structure,
  tableFromSchema,
  type TableState,
} from '../table/index.ts'
import type { WriteParts } from './parts.ts'
import { hiddenOwn, keysOfFragment, writtenKeys } from './sealed-keys.ts'

const HELD_HINT = 'The write stays sealed: roll it back, and stage it again on what is there now.'

export class SealedTable {
  readonly table: TableState
  private readonly parts: WriteParts
  private readonly participant: Participant
  /** One of store.stage(): a conflict leaves it sealed. */
  private readonly isHeld: boolean
  private readonly change: TableChange | undefined
  private readonly generations: readonly FileGeneration[]
  private readonly keys: KeysFile | undefined
  /** What was written since it was prepared is older than it. */
  private readonly isFree: boolean
  /** Keys written up to here are known not to be this write's. */
  private checkedTo: number
  /** Older rows that its rows replace, and those that it deletes. */
  private replaced = new HideSet()
  private deleted = new HideSet()
  /** What the places were found in. */
  private lookedAt: Structure | undefined
  private rewinds = 0

  /** @param keys  of a participant that has them @param comesAfter  PublishOptions.comesAfter @throws ConflictError when the table is gone, or another one has its name */
  constructor(
    parts: WriteParts,
    seal: PendingSeal,
    participant: Participant,
    generations: readonly FileGeneration[],
    keys: KeysFile | undefined,
    comesAfter: boolean = false,
  ) {
    this.parts = parts
    this.participant = participant
    this.isHeld = seal.intent.mode === 'hold'
    this.isFree = comesAfter && (participant.op === 'upsert' || participant.op === 'replace')
    this.change = seal.changes.find((change) => change.tableId === participant.tableId)
    this.generations = generations
    this.keys = keys
    this.checkedTo = Number(participant.expectedVersion)
    this.table = tableOf(parts, participant)
  }

  /** @throws ConflictError: what is durable up to `head` contradicts the write */
  async check(head: number, signal: AbortSignal | undefined): Promise<void> {
    const { parts, participant, table } = this
    const { state } = parts.engine.parts
    const { lastLsn } = state.catalog.table(table.id)!
    this.refuseNewConstraints()
    if (this.isFree) return
    if (participant.rule === 'exact' && lastLsn > Number(participant.expectedVersion)) throw this.conflict([], lastLsn)
    if (!this.isAsRead()) throw this.conflict([], lastLsn)
    if (participant.rule !== 'keys' || lastLsn <= this.checkedTo) return
    const lost = await writtenKeys(parts, this.table, this.keys!, { from: this.checkedTo, to: head }, signal)
    if (lost.keys.length > 0) throw this.conflict(lost.keys, lost.lsn)
    const taken = lost.tuples[0]
    if (taken !== undefined) throw this.tupleConflict(taken.layout, taken.tuple, lost.lsn)
    this.checkedTo = head
  }

  private tupleConflict(layout: KeyLayout, tuple: Uint8Array, lsn: number): ConflictError {
    const { schema, name } = this.table
    const { text } = tupleOf(resolveView(tableFromSchema(schema), schema), layout, tuple)
    return new ConflictError(`${name}: LSN ${lsn} took unique ${text} first`, {
      details: { table: name, keys: [], total: 0, lsn: BigInt(lsn) },
      ...(this.isHeld ? { hint: HELD_HINT } : {}),
    })
  }

  /** Constraints that came into force since it was sealed: nobody has looked whether its rows keep them. */
  private refuseNewConstraints(): void {
    const { table, change } = this
    if (change?.fragments === undefined) return
    const then = new Set(table.schemaOf(change.schemaVersion).unique.map((columns) => columns.join()))
    const added = table.uniques.find(({ id }) => !then.has(id))
    if (added === undefined) return
    throw new ConflictError(`${table.name}: unique (${added.defs.map(({ name }) => name).join(', ')}) is in force since the write was sealed`, {
      details: { table: table.name, keys: [], total: 0, lsn: BigInt(table.lastLsn) },
      ...(this.isHeld ? { hint: HELD_HINT } : {}),
    })
  }

  private conflict(keys: readonly string[], lsn: number): ConflictError {
    return conflict(this.table, keys, lsn, undefined, this.isHeld ? HELD_HINT : undefined)
  }

  /** The fragments whose rows it names by position are there, with the rows hidden that were hidden then. */
  private isAsRead(): boolean {
    return this.participant.addresses.every(({ fragment, deletions }) => {
      const found = this.table.now.fragments.find((each) => `${each.lsn}.${each.ordinal}` === fragment)
      return found !== undefined && String(found.hides.count) === deletions
    })
  }

  /** Where the older rows with its keys are. Its table's gates are held, so that no flush of this handle moves them. */
  async look(): Promise<void> {
    const { change, keys, table } = this
    // A change of structure is a flush of another writer, or a load: rows may be elsewhere.
    if ((table.keyLayout === undefined && table.uniques.length === 0) || change?.op === 'replace') return
    const { world, check } = this.parts.engine.parts
    const pace = new Pace({ world, check, table: table.name, phase: 'publish', total: undefined })
    const between = (): Promise<void> | undefined => pace.step(undefined)
    while (this.hasMoved) {
      this.lookedAt = table.now
      this.rewinds = table.rewinds
      // Without a key nothing is replaced: rows are hidden by position.
      if (table.keyLayout === undefined) continue
      this.replaced = new HideSet()
      this.deleted = new HideSet()
      if (keys !== undefined && keys.deleted.length > 0) await find(table, runOf(table, keys.deleted), this.deleted, between)
      for (const [ordinal, ref] of (change?.fragments ?? []).entries()) {
        if (this.isFresh(ref)) continue
        const runs = keysOfFragment(this.parts, table, promotedRef(ref, this.generations), hiddenOwn(change!, ordinal))
        for await (const run of runs) await find(table, run, this.replaced, between)
      }
    }
  }

  private get hasMoved(): boolean {
    return this.lookedAt !== this.table.now || this.rewinds !== this.table.rewinds
  }

  /** Keys of these rows were not in the table when they were staged, and rule `keys` says that nobody wrote them since. */
  private isFresh({ digest }: FragmentRef): boolean {
    return this.participant.files.some((file) => file.digest === digest && file.role === 'fragment' && file.fresh === true)
  }

  /** Something was queued since `head` that check() or look() must see first. */
  isStale(head: number): boolean {
    const { tracker } = this.parts.engine.parts
    const { participant, table, keys } = this
    if (this.lookedAt !== undefined && this.hasMoved) return true
    if (this.isFree || tracker.changedSince(table, head) === 0) return false
    if (participant.rule === 'commute') return !this.isAsRead()
    if (participant.rule === 'exact') return true
    if (this.lateTuple(head) !== undefined) return true
    if (table.keyLayout === undefined) return !this.isAsRead()
    if (tracker.bulkSince(table, head) > 0) return true
    for (const [text] of tracker.keysSince(table, head)) {
      const { lo, hi } = xxh3(keyBytesOf(text))
      if (hasKeyHash(keys!, lo, hi)) return true
    }
    return false
  }

  /** A tuple of it that a row has which came to memory above `lsn`; by hash, or for certain when `exact`. */
  private lateTuple(lsn: number, exact: boolean = false): { readonly layout: KeyLayout; readonly tuple: Uint8Array; readonly place: Place } | undefined {
    for (const layout of this.table.uniques) {
      for (const { row, run } of lateTuples(this.table, layout, lsn)) {
        const tuple = run.data.slice(0, run.end(0))
        const place = { fragment: undefined, row }
        if (exact ? !this.replaced.has(place) && this.holds(tuple, layout) : this.mayHold(tuple, layout)) return { layout, tuple, place }
      }
    }
    return undefined
  }

  /** Rows with its keys that were queued since `head`, when it comes after them: one look per key, in the step that queues the record. */
  takeLate(head: number): void {
    const { participant, table } = this
    if (!this.isFree || participant.op === 'replace' || table.keyLayout === undefined) return
    for (const [text] of this.parts.engine.parts.tracker.keysSince(table, head)) {
      const key = keyBytesOf(text)
      if (!this.holds(key)) continue
      const place = findKeySync(table.now, NOW, key)
      if (place !== undefined) this.replaced.add(place)
    }
    const late = this.lateTuple(Number(participant.expectedVersion), true)
    if (late !== undefined) throw this.tupleConflict(late.layout, late.tuple, table.now.layer.lsnOf(late.place.row))
  }

  /** Whether one of its rows has the key, or the tuple of a constraint: asked of its own fragments, since hashes alone may be another key's. */
  private holds(key: Uint8Array, layout: KeyLayout = this.table.keyLayout!): boolean {
    if (!this.mayHold(key, layout)) return false
    const { context } = this.parts.engine.parts.state
    const { lo, hi } = xxh3(key)
    return (this.change?.fragments ?? []).some((ref, ordinal) => {
      const hidden = layout.isKey ? undefined : hiddenOwn(this.change!, ordinal)
      const accept = hidden === undefined ? undefined : (row: number): boolean => !hidden.has(row)
      return context.readerOf(promotedRef(ref, this.generations), this.table).lookupSync(lo, hi, key, layout, accept) >= 0
    })
  }

  private mayHold(key: Uint8Array, layout: KeyLayout): boolean {
    const { lo, hi } = layout.hashOf(key)
    return this.keys !== undefined && hasKeyHash(this.keys, lo, hi)
  }

  /** Its part of the record. */
  changes(): AdmittedChange[] {
    const { table, change } = this
    const gone = this.deleted.stillLive(table)
    const over = this.replaced.stillLive(table)
    const admitted: AdmittedChange[] = []
    const { schemaVersion = table.schema.version } = change ?? {}
    const brings = change !== undefined && (change.op === 'replace' || change.fragments !== undefined || change.hides !== undefined)
    // A table that nothing happens to is told of all the same, as a delete of absent keys is.
    if (gone.size > 0 || !brings) {
      const touched = (this.keys?.deleted ?? []).map((key) => keyText(key))
      admitted.push({
        table,
        change: { tableId: table.id, schemaVersion, op: 'delete', inserted: 0, updated: 0, deleted: gone.size, ...gone.parts() },
        touched,
      })
    }
    if (!brings) return admitted
    const older = over.parts()
    const hides = [...(older.hides ?? []), ...(change.hides ?? [])]
    const byPosition = (change.hides ?? []).reduce((sum, hide) => sum + (hide.lsn === 0 ? 0 : hide.rows.length), 0)
    admitted.push({
      table,
      change: {
        tableId: table.id,
        schemaVersion,
        op: change.op,
        inserted: change.inserted - over.size,
        updated: over.size,
        deleted: change.op === 'replace' ? table.liveRowsNow() : byPosition,
        ...(older.hideRows === undefined ? {} : { hideRows: older.hideRows }),
        ...(hides.length === 0 ? {} : { hides }),
        ...(change.fragments === undefined ? {} : { fragments: change.fragments.map((ref) => promotedRef(ref, this.generations)) }),
      },
    })
    return admitted
  }
}

/** @throws ConflictError */
function tableOf({ engine }: WriteParts, { tableId, incarnation, name }: Participant): TableState {
  const { state } = engine.parts
  const table = state.tables.get(tableId)
  if (table !== undefined && state.catalog.table(tableId)?.createdLsn === incarnation) return table
  throw new ConflictError(`${name}: the table that the write was staged for is gone`, {
    details: { table: name, keys: [], total: 0, lsn: BigInt(state.applied) },
    hint: 'Roll the write back, and stage it again for the table there is now.',
  })
}

/** As many keys are joined with the table as a whole; a few cost less one by one. */
const JOIN_ROWS_MIN = 64

async function find(table: TableState, keys: RowKeys, into: HideSet, between: () => Promise<void> | undefined): Promise<void> {
  if (keys.rows >= JOIN_ROWS_MIN) {
    for (const { fragment, rows } of await findKeys(table.now, NOW, keys, table.keyLayout!, between)) for (const row of rows) into.add({ fragment, row })
    return
  }
  for (let round = 0; ; round++) {
    const places = placesOf(table, keys, round >= READ_ROUNDS)
    if (places instanceof Promise) {
      await places
      continue
    }
    for (const place of places) if (place !== undefined) into.add(place)
    return
  }
}

function runOf(table: TableState, keys: readonly Uint8Array[]): KeyRun {
  const run = new KeyRun(table.keyLayout!.stride)
  for (const key of keys) run.push(key, 0, key.length)
  return run
}
