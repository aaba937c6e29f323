// engine/fused.ts: the Intent of a write that this handle finishes in one go: armed before its first file, decided by the very record that brings its rows
// (recovery.md section 2, "Fused seal").
//
//   INTENT -> files in staging -> their final names -> the record, with isArmed -> the directory goes
//
// Invariant: the record names only files that are durable under their final names; the directory goes only when the outcome is known.

import { ClosedError, CommitOutcomeUnknownError, FencedError, InvalidConfigError, PoisonedError } from '../errors.ts'
import { isNamed } from '../catalog/index.ts'
import { toHex, type Intent, type IntentKind, type IntentMerge, type Participant, type ParticipantOp } from '../format/index.ts'
import type { CommitLog } from '../log/index.ts'
import { newUlid, ulidBytes } from '../runtime/index.ts'
import { type StagedFile, StagingArea } from '../staging/index.ts'
import type { TableState, WriteOptions } from '../table/index.ts'
import type { ArmedWrite } from './admitted.ts'
import { isIndeterminate } from './commit-gate.ts'
import type { Engine } from './engine.ts'

const NO_GENERATIONS: ReadonlyMap<string, number> = new Map()

export interface FusedOptions {
  readonly kind: IntentKind
  readonly table: TableState
  readonly op: ParticipantOp
  /** Further tables, of the same operation. */
  readonly also?: readonly TableState[]
  readonly notes?: WriteOptions | undefined
  readonly merge?: IntentMerge
}

export class FusedWrite {
  readonly writeId: string
  private readonly engine: Engine
  private readonly o: FusedOptions
  private arming: Promise<StagingArea> | undefined
  private baseLsn = 0
  /** As armed. */
  intent: Intent | undefined
  /** The id is this write's: whoever else has it is not ended with it. */
  private isOurs = false

  constructor(engine: Engine, o: FusedOptions) {
    this.engine = engine
    this.o = o
    this.writeId = o.notes?.writeId ?? newUlid(engine.parts.world)
  }

  /** Phase A, once: whoever has a file asks first. */
  readonly area = (): Promise<StagingArea> => (this.arming ??= this.arm())

  /** @throws InvalidConfigError, and nothing done: the caller gave the id of another write */
  private async arm(): Promise<StagingArea> {
    const { intents, committer, state } = this.engine.parts
    const { kind, table, also = [], op, notes, merge } = this.o
    const idHex = toHex(ulidBytes(this.writeId))
    if (intents.isLive(this.writeId) || committer.decisionOf(idHex) !== undefined || state.catalog.outcomes.pending.has(idHex)) {
      throw new InvalidConfigError(`another write has the id ${this.writeId}`, {
        details: { key: 'writeId', value: this.writeId },
        hint: 'Leave writeId out, or make one with newWriteId().',
      })
    }
    const intent = intents.arm({
      kind,
      mode: 'auto',
      writeId: this.writeId,
      participants: [table, ...also].map((each) => participantOf(this.engine, each, op)),
      merge,
      author: notes?.author,
      message: notes?.message,
      idempotencyKey: notes?.idempotencyKey,
    })
    this.baseLsn = Number(intent.baseLsn)
    this.isOurs = true
    this.intent = intent
    intents.begin(this.writeId)
    return armArea(this.engine, intent)
  }

  /** The files get their final names. @returns the generation of each by `<digest>.<ext>` */
  async promote(files: readonly StagedFile[]): Promise<ReadonlyMap<string, number>> {
    return this.arming === undefined ? NO_GENERATIONS : (await this.arming).promote(files)
  }

  /** What the committer is told; undefined: there was no file, so nothing was armed. */
  get armed(): ArmedWrite | undefined {
    return this.arming === undefined ? undefined : { writeId: ulidBytes(this.writeId), baseLsn: this.baseLsn }
  }

  /** Phase D. Never fails: what stays is for the next sweep. */
  async retire(): Promise<void> {
    const { intents, world, retireDeferred } = this.engine.parts
    const area = await this.arming?.catch(() => undefined)
    const failed = area === undefined ? undefined : await retireArea(this.engine.parts.log, area)
    if (this.isOurs) intents.end(this.writeId)
    if (failed === undefined) return
    world.logger.log({ level: 'warn', code: 'retire.deferred', writeId: this.writeId, cause: failed })
    retireDeferred(this.writeId, failed)
  }

  /** The write failed. Where its record may be in the log, or this handle is over, the directory stays for whoever finds out. */
  async giveUp(error: unknown): Promise<void> {
    // Fenced as a write: its outcome is recorded, by somebody else.
    const isFenced = error instanceof FencedError && error.scope !== 'write'
    const isOver =
      error instanceof PoisonedError || error instanceof CommitOutcomeUnknownError || error instanceof ClosedError || isFenced || isIndeterminate(error)
    if (!isOver) return this.retire()
    await this.settle()
  }

  /** Its directory stays for whoever decides it: this handle has no part in it any more. */
  async settle(): Promise<void> {
    const area = await this.arming?.catch(() => undefined)
    await area?.settle()
    if (this.isOurs) this.engine.parts.intents.end(this.writeId)
  }
}

/**
 * Phase A: the INTENT becomes durable, and before it the log up to the versions that it states: what was only buffered may be lost in a power cut,
 * and a write that outlives the commits it was prepared against could be neither published nor explained.
 */
export async function armArea(engine: Engine, intent: Intent): Promise<StagingArea> {
  const { root, world, log, state, committer } = engine.parts
  // What is dead now stays unused for as long as the write lives: the log may forget it before the write ends.
  const { batches } = state.catalog.dead
  if (log.durableHead < BigInt(intent.baseLsn)) await log.sync()
  const dead = (name: string): boolean => isNamed(batches, name) || committer.isDead(name)
  return StagingArea.arm(root, world, intent, { isLeased: log.shared, names: { dead, ...(log.shared ? { confirm: () => engine.confirm() } : {}) } })
}

/**
 * Phase D. The outcome is made durable first: a record that is only buffered may be lost in a power cut, and what it decided would be pending again without files.
 *
 * @returns why something is left; never throws
 */
export async function retireArea(log: Pick<CommitLog, 'head' | 'durableHead' | 'sync'>, area: StagingArea): Promise<Error | undefined> {
  try {
    if (log.durableHead < log.head) await log.sync()
  } catch (error) {
    return error as Error
  }
  return area.retire()
}

/** Its rows are told apart by values, its key's or a constraint's (recovery.md section 3). */
function isKeyed({ keyLayout, uniques }: TableState): boolean {
  return keyLayout !== undefined || uniques.length > 0
}

/** A table of a write, before its files are known. */
export function participantOf(engine: Engine, table: TableState, op: ParticipantOp): Participant {
  const known = engine.parts.state.catalog.table(table.id)
  return {
    tableId: table.id,
    incarnation: known?.createdLsn ?? table.lastLsn,
    name: table.name,
    op,
    expectedVersion: String(known?.lastLsn ?? table.lastLsn),
    rule: op === 'replace' ? 'exact' : op === 'compact' || !isKeyed(table) ? 'commute' : 'keys',
    files: [],
    removes: [],
    addresses: [],
  }
}
