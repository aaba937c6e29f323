// store/ship-history.ts: what shipping sees of an open store: its log, its newest checkpoint and its files (docs/shipping.md, decision 0023).
//
// Positions are read in one synchronous step. Pins are granted under the reclaim lock of the log, where vacuum decides too.
// Invariant: what a granted pin names stays until it is released, and an owner is told before a pin is taken away from it; a checkpoint counts as trusted only while
// everything that a base of it needs was found there, none of it failed the last verify, and its digest is that of the log.

import type { Catalog } from '../catalog/index.ts'
import { listCheckpoints, writeCheckpoint } from '../engine/index.ts'
import { CorruptionError, HistoryUnavailableError, PinRefusedError, VarveError } from '../errors.ts'
import { markOf } from '../format/index.ts'
import type { HoldOptions, Lsn } from '../log/index.ts'
import { isNotFound } from '../root/index.ts'
import {
  type FullBasePin,
  type HistorySource,
  type Manifest,
  manifestHash,
  type PinLimit,
  type PinLogOptions,
  type RetainedHistory,
  type ShipPin,
} from '../ship/index.ts'
import { neededNames } from '../upkeep/index.ts'
import { absentFile, type BaseSource, catalogAt, filesOfBase, manifestAt } from './ship-base.ts'
import { ShipPins, type ShipPinLimits } from './ship-pins.ts'
import type { Opened } from './wiring.ts'

/** A look at every file of a checkpoint is believed for so long. */
const TRUST_MS = 60_000
const NO_HASH = new Uint8Array(32)

export interface ShipHistoryParts extends BaseSource, Pick<Opened, 'history' | 'fragmentFloor' | 'damaged'> {
  /** C; Infinity: everything that is durable counts (mode async). */
  readonly committed: () => number
  readonly acknowledgement: Pick<Opened['acknowledgement'], 'isFrozen'>
  /** RetainedHistory.mandate. */
  readonly mandate?: () => number | undefined
  /** RetainedHistory.promotion. */
  readonly promotion?: number
  /** Resolves when what left before its sync is durable here, or never will be. */
  readonly settled?: () => Promise<void>
  /** A vacuum whose record is on its way has named the file; those of records that are folded are in the catalog. */
  readonly isDead?: (name: string) => boolean
  readonly limits?: Partial<ShipPinLimits>
}

interface Trust {
  readonly lsn: number
  /** undefined: it is not to be trusted. */
  readonly manifest: Manifest | undefined
  /** Of what may change it. */
  readonly stamp: string
  readonly atMs: number
}

export class StoreHistory implements HistorySource, Disposable {
  private readonly parts: ShipHistoryParts
  private readonly pins: ShipPins
  private trust: Trust | undefined

  constructor(parts: ShipHistoryParts) {
    this.parts = parts
    this.pins = new ShipPins(parts, parts.limits ?? {})
  }

  async read({ positions = false }: { readonly positions?: boolean } = {}): Promise<RetainedHistory> {
    const { log, root } = this.parts
    const newest = positions ? undefined : (await listCheckpoints(root))[0]
    const manifest = newest === undefined ? undefined : await this.trusted(newest)
    // A replica may have more than this node has synced, and that is no other history.
    await this.parts.settled?.()
    // From here on one step.
    const head = this.head()
    return {
      headLsn: head,
      tailLsn: Number(log.tail),
      // A vacuum whose record waits for replicas grants nothing below its floor: they need not wait for what it is about to take.
      fragmentFloorLsn: Math.min(head, Math.max(this.parts.fragmentFloor(), log.reclaim.recorded ?? 0)),
      committedLsn: Math.min(head, this.parts.committed()),
      checkpoint:
        newest === undefined ? null : { lsn: newest, trusted: manifest !== undefined, manifestHash: manifest === undefined ? NO_HASH : manifestHash(manifest) },
      lineage: log.lineage.filter(({ firstLsn }) => firstLsn <= BigInt(head)).map(({ epoch, firstLsn, mandate }) => markOf(epoch, firstLsn, mandate)),
      mandate: this.parts.mandate?.(),
      lacksMandates: log.shared,
      promotion: this.parts.promotion ?? 0,
    }
  }

  digestAt(lsn: number): Promise<Uint8Array> {
    return this.parts.log.digestAt(BigInt(lsn) as Lsn)
  }

  pinLog(start: number, owner: ShipPin['owner'], { isRebuild = false, elided = false }: PinLogOptions = {}): Promise<ShipPin> {
    const { log, fragmentFloor } = this.parts
    return this.pins.grant({ kind: 'log', lsn: start, owner, isAgeless: isRebuild }, () =>
      elided ? { lsn: Math.max(start, fragmentFloor(), log.reclaim.planned), logLsn: start } : {},
    )
  }

  needed(): Promise<ReadonlySet<string>> {
    const { root, log, storeId, context, state, fragmentFloor } = this.parts
    return neededNames({ root, log, storeId, context }, state, fragmentFloor())
  }

  async pinSnapshot(lsn: number, owner: ShipPin['owner']): Promise<FullBasePin> {
    // Looked at now, whatever was believed before.
    this.trust = undefined
    const manifest = await this.trusted(lsn)
    if (manifest === undefined) throw this.refused(lsn, 'no checkpoint is there that can be trusted')
    return await this.pinBase('snapshot', manifest, owner, { isPoint: true })
  }

  async pinFullBase(minLsn: number, owner: ShipPin['owner']): Promise<FullBasePin> {
    const { history, state, root, acknowledgement, committed } = this.parts
    const head = this.head()
    const lowest = Math.max(minLsn, await history.floor())
    if (lowest > head) throw this.refused(minLsn, `the newest version is ${head}`)
    const above = (await listCheckpoints(root)).filter((lsn) => lsn > lowest && lsn <= head).reverse()
    let last: unknown
    // The last is the state as it is then: writers go on while the others are looked at.
    for (const lsn of [...new Set([lowest, ...above]), undefined]) {
      // No checkpoint is above C: the next open would take it for committed. Nor is C waited for: the replica that is to be rebuilt may be the one that it lacks.
      if (lsn === undefined && acknowledgement.isFrozen) {
        throw this.refused(minLsn, `no version from there up to C, ${committed()}, can be made, and what is above it here is not committed`, last)
      }
      try {
        return await this.materialised(lsn ?? Math.min(this.head(), state.applied), owner, lsn === undefined)
      } catch (error) {
        if (!isUnmakeable(error)) throw error
        last = error
      }
    }
    throw this.refused(minLsn, 'no version from there on can be made', last)
  }

  /** @throws what isUnmakeable() knows: this version is not to be had */
  private async materialised(lsn: number, owner: ShipPin['owner'], isNewest: boolean): Promise<FullBasePin> {
    // Held first, so that neither what it is folded from nor its files go meanwhile.
    using _ = this.pins.hold({ lsn, owner: 'base' })
    this.trust = undefined
    const manifest = (await this.trusted(lsn)) ?? (await this.written(lsn, isNewest))
    return await this.pinBase('full_base', manifest, owner, { isPoint: false })
  }

  /** Of a checkpoint that is made now. @param isNewest  of the live state, wherever it stands */
  private async written(lsn: number, isNewest: boolean): Promise<Manifest> {
    const { root, storeId, log, state, world } = this.parts
    const catalog: Catalog = isNewest || lsn === state.applied ? state.catalog : await catalogAt(this.parts, lsn)
    // Reads the catalog in one step; the live one goes on behind it.
    const made = await writeCheckpoint(root, storeId, log, catalog, world.failpoints)
    this.trust = undefined
    const manifest = await this.trusted(made)
    if (manifest === undefined) throw this.refused(lsn, 'files that it needs are not there')
    return manifest
  }

  private async pinBase(kind: 'snapshot' | 'full_base', manifest: Manifest, owner: ShipPin['owner'], o: Pick<HoldOptions, 'isPoint'>): Promise<FullBasePin> {
    const { root, state, isDead } = this.parts
    const files = filesOfBase(manifest)
    const checkpoints = files.filter(({ name }) => name.startsWith('checkpoints/'))
    const names = files.map(({ name }) => name)
    const pin = await this.pins.grant(
      { kind, lsn: manifest.baseLsn, owner, isAgeless: true },
      () => ({ ...o, logLsn: manifest.logFrom, files: () => names }),
      async () => {
        // A vacuum names a file in a record before it goes, and drops checkpoints while it holds the lock, but those that are held.
        const { dead } = state.catalog
        const gone =
          names.find((name) => (dead.has(name) ? !isVector(name) : isDead?.(name) === true)) ??
          (await absentFile(root, [...checkpoints, ...files.filter(({ name }) => dead.has(name))]))
        if (gone !== undefined) throw this.refused(manifest.baseLsn, `${gone} is gone`)
      },
    )
    return Object.assign(pin, { manifest })
  }

  private head(): number {
    return Number(this.parts.log.durableHead)
  }

  /** The manifest of the checkpoint there, when it is one to be trusted. @throws StorageError when that cannot be told */
  private async trusted(lsn: number): Promise<Manifest | undefined> {
    const { world, state } = this.parts
    const { dead, branches, fragmentFloor } = state.catalog
    const stamp = `${fragmentFloor} ${dead.batches.at(-1)?.lsn} ${branches.nextId} ${branches.size} ${branches.tagCount}`
    const nowMs = world.clock.monoMs()
    const known = this.trust
    if (known?.lsn === lsn && known.stamp === stamp && nowMs - known.atMs < TRUST_MS && !this.isDamaged(known.manifest)) return known.manifest
    const manifest = await this.looked(lsn)
    this.trust = { lsn, manifest, stamp, atMs: nowMs }
    return manifest
  }

  private async looked(lsn: number): Promise<Manifest | undefined> {
    const { root, state, world } = this.parts
    try {
      const manifest = await manifestAt(this.parts, lsn)
      const { dead } = state.catalog
      if (this.isDamaged(manifest) || manifest.files.some(({ name }) => dead.has(name) && !isVector(name))) return undefined
      return (await absentFile(root, filesOfBase(manifest))) === undefined ? manifest : undefined
    } catch (cause) {
      if (!isUnmakeable(cause)) throw cause
      world.logger.log({ level: 'warn', code: 'ship.checkpointUntrusted', lsn, cause })
      return undefined
    }
  }

  private isDamaged(manifest: Manifest | undefined): boolean {
    const { damaged } = this.parts
    return manifest !== undefined && damaged.size > 0 && filesOfBase(manifest).some(({ name }) => damaged.has(name))
  }

  private refused(lsn: number, why: string, cause?: unknown): PinRefusedError {
    const { log, fragmentFloor } = this.parts
    const floor = BigInt(Math.max(Number(log.tail), fragmentFloor()))
    return new PinRefusedError(`LSN ${lsn} cannot be pinned as a base: ${why}`, { details: { asked: BigInt(lsn), tail: log.tail, floor }, cause })
  }

  /** Invalidates the owners of what is over a limit; else a timer does, while there are pins. */
  checkLimits(): PinLimit[] {
    return this.pins.check()
  }

  /** Gives all pins back. */
  [Symbol.dispose](): void {
    this.pins[Symbol.dispose]()
  }
}

/** A version, or a checkpoint, that is not there or not what it should be: another may do. */
function isUnmakeable(error: unknown): boolean {
  return (
    error instanceof CorruptionError ||
    error instanceof HistoryUnavailableError ||
    error instanceof PinRefusedError ||
    (error instanceof VarveError && error.kind === 'corrupt') ||
    isNotFound(error)
  )
}

/** A dead one stays for as long as a replay from the checkpoints here reads it: those of a node that was a replica when it died may be older than its end. */
function isVector(name: string): boolean {
  return name.endsWith('.dv')
}
