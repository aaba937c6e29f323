// ship/types.ts: the nouns that the parts of shipping share (docs/shipping.md). LSNs are plain integers in here, as in the engine; the doors hand out `Lsn`.
//
// Policy (sender, registry, classify, planner, executors, acknowledgement) is synchronous or waits only for what it was handed; it never imports I/O.

import type { Elided, Message } from '../format/index.ts'

export type { Elided, Message } from '../format/index.ts'

export type { AckMode } from '../format/index.ts'

/** 1 to 128 bytes of `[A-Za-z0-9._:-]`; never derived from an address. Made by replicaId() only. */
export type ReplicaId = string & { readonly __brand: 'ReplicaId' }

/** Where a replica is now. `data` and `control` are `host:port` (TCP) or any name (memory transport). */
export interface Endpoint {
  readonly data: string
  readonly control?: string
  /** Grows with every change of the addresses. */
  readonly version: number
}

/** `seq` counts from 1 within an epoch and belongs to the store. Printed `e.s`. */
export interface SessionId {
  readonly epoch: number
  readonly seq: number
}

/** Carried by every mutation, on the sender and on the replica. */
export interface Fence {
  readonly replicaId: ReplicaId
  readonly epoch: number
  readonly sessionId: SessionId
  readonly endpointVersion: number
}

export type ReplicaState = 'disconnected' | 'connecting' | 'catching_up' | 'rebuilding' | 'in_sync' | 'degraded' | 'needs_rebuild' | 'halted' | 'stopped'
export type SessionKind = 'bootstrap' | 'catchup' | 'reassign' | 'rebuild'
export type SessionPhase = 'init' | 'connecting' | 'handshake' | 'catchup' | 'transfer' | 'tail_replay' | 'completed' | 'invalidated'

/** One per exclusive epoch that appended at least one record, ascending. */
export interface EpochMark {
  readonly epoch: number
  readonly firstLsn: number
  /** By which its writer wrote: 2e + 1, promoted behind a fence at e; 2e, opened with `{ epoch: e }`; absent: nobody decided (decision 0030). */
  readonly mandate?: number
}

/** One consistent view of the primary's log, taken under its append lock. */
export interface RetainedHistory {
  readonly headLsn: number
  /** Exclusive: records above it are retained. */
  readonly tailLsn: number
  /** Exclusive: every file that a record above it names is stored. */
  readonly fragmentFloorLsn: number
  readonly committedLsn: number
  readonly checkpoint: { readonly lsn: number; readonly trusted: boolean; readonly manifestHash: Uint8Array } | null
  readonly lineage: readonly EpochMark[]
  /**
   * Records of other primaries up to this epoch hold nothing that was promised and is not here: of a newer one nobody knows that. undefined: nothing is promised
   * (mode async).
   */
  readonly mandate?: number | undefined
  /** The same of records that were written by a lower mandate than this one, that of the promotion that made this node the primary; 0 or absent: none did. */
  readonly promotion?: number
  /** Of a log of slots: its lineage names no mandates, whatever its records say. */
  readonly lacksMandates?: boolean
}

/** What a replica says of itself (a helloReply). */
export interface Hello {
  readonly protocol: number
  readonly replicaId: ReplicaId
  /** Lower-case hex; '' before its first contact. */
  readonly storeId: string
  readonly epochSeen: number
  /** R */
  readonly durableLsn: number
  /** RC */
  readonly committedLsn: number
  /** T of its log: marks above T + 1 are where their epochs began. */
  readonly tailLsn: number
  readonly lineage: readonly EpochMark[] | null
  /** digestAt(R). */
  readonly digest: Uint8Array
  readonly checkpoints: readonly number[]
  readonly rebuildInProgress: Uint8Array | null
  /** It has everything that it ever confirmed: false in a new folder and behind an install, until its first live stream. */
  readonly isWhole: boolean
  /** It is amid a catch-up that leaves files out; null: it is not. */
  readonly elided: Elided | null
}

/** What the primary asked and was told before it classifies: digests at the match point, and what the replica found in its own chain. */
export interface Agreement {
  /** D, as matchPoint() computes it. */
  readonly matchLsn: number
  /** Whether both logs have one digest at D (at T when D = T); undefined: D < T, or no lineage: there is nothing to compare. */
  readonly agrees: boolean | undefined
  /** Of a conflict: whether the replica's own chain verifies up to D. */
  readonly replicaSound?: boolean
}

export type Outcome = 'zero_gap' | 'catch_up' | 'needs_rebuild' | 'halt'

export interface RecoverabilityProof {
  readonly recoverable: boolean
  readonly reason: string
  /** Names the numbers that decided. */
  readonly detail: string
  readonly replicaDurableLsn: number
  readonly replicaCommittedLsn: number
  readonly committedLsn: number
  readonly tailLsn: number
  readonly headLsn: number
  readonly fragmentFloorLsn: number
  readonly matchLsn: number | null
}

export interface Handshake {
  readonly outcome: Outcome
  readonly reason: string
  /** Exclusive. Equal to `target` where nothing is to be streamed. */
  readonly start: number
  readonly target: number
  readonly truncateTo: number | null
  readonly elideDead: boolean
  readonly proof: RecoverabilityProof
}

/** 0 switches a limit off. */
export interface CatchUpBudget {
  readonly maxDurationMs: number
  readonly maxEntries: number
  readonly maxBytes: number
  readonly progressDeadlineMs: number
}
export type BudgetVerdict = 'ok' | 'duration_exceeded' | 'entries_exceeded' | 'bytes_exceeded' | 'progress_stalled'

/** Made under the log's append lock when a recovery is complete: from `cursor` on the Shipper sends. */
export interface StreamGrant {
  readonly fence: Fence
  readonly cursor: number
  readonly pinnedFrom: number
}

export type PinKind = 'log' | 'snapshot' | 'full_base'
/** Why a pin is taken away: too much or too long, or, of a log that others may trim, its lease could not be renewed. */
export type PinLimit = 'retention_exceeded' | 'lease_lost'
export interface ShipPin extends Disposable {
  readonly id: string
  readonly kind: PinKind
  readonly lsn: number
  readonly owner: SessionId | 'stream' | 'hold'
  readonly valid: boolean
  /** Set by the owner: told before the pin is taken away from it. */
  onLimit: ((limit: PinLimit) => void) | undefined
  /** The stream has gone on; log pins only. */
  advance(lsn: number): void
  /** Twice is fine; never throws. */
  release(): void
}

/** One file of a base or of a record: its name in the root and its content. */
export interface FileRef {
  /** `fragments/ab/<sha256>[.g<n>].arrow` and the like; never any other place. */
  readonly name: string
  /** SHA-256 of the bytes. */
  readonly hash: Uint8Array
  readonly bytes: number
}

/** What a base is made of. Canonical bytes and hash: format/ship-manifest.ts. */
export interface Manifest {
  readonly storeId: Uint8Array
  /** B */
  readonly baseLsn: number
  readonly digest: Uint8Array
  readonly lineage: readonly EpochMark[]
  /** Records above it are part of the base: rows that its checkpoint leaves in the log. <= baseLsn. */
  readonly logFrom: number
  readonly logDigest: Uint8Array
  /** The checkpoint at B, and every file that it names, by name. */
  readonly checkpoint: FileRef
  readonly files: readonly FileRef[]
}

export interface FullBasePin extends ShipPin {
  readonly manifest: Manifest
}

export interface PinLogOptions {
  /** It may take as long as it takes. */
  readonly isRebuild?: boolean
  readonly elided?: boolean
}

/** What shipping sees of a primary's log, checkpoints and files. Everything about the store that policy needs comes through here. */
export interface HistorySource {
  /** One consistent view. `positions`: LSNs and lineage alone, which costs no look at files; `checkpoint` is null then. */
  read(o?: { readonly positions?: boolean }): Promise<RetainedHistory>
  digestAt(lsn: number): Promise<Uint8Array>
  /** Holds records above `start` and every file they name; `elided`: of those below G only the records. @throws PinRefusedError */
  pinLog(start: number, owner: ShipPin['owner'], o?: PinLogOptions): Promise<ShipPin>
  /** @throws PinRefusedError unless a trusted checkpoint is at exactly that LSN */
  pinSnapshot(lsn: number, owner: ShipPin['owner']): Promise<FullBasePin>
  /** Every file that a version which can still be read needs, or a branch or a tag: what is gone of the others is dead. @cost reads the log from the newest checkpoint below G on */
  needed(): Promise<ReadonlySet<string>>
  /** A base at the lowest LSN >= minLsn that can be made. @throws PinRefusedError */
  pinFullBase(minLsn: number, owner: ShipPin['owner']): Promise<FullBasePin>
}

export interface RecoveryPlan {
  readonly replicaId: ReplicaId
  readonly fence: Fence
  readonly outcome: Outcome
  readonly proof: RecoverabilityProof
  readonly start: number
  readonly target: number
  readonly truncateTo: number | null
  readonly elideDead: boolean
  readonly rebuild: {
    readonly source: 'snapshot_tail' | 'full_base'
    readonly baseLsn: number
    readonly target: number
    readonly reason: string
    readonly manifestHash: Uint8Array
    readonly manifest: Manifest
  } | null
  readonly pins: readonly ShipPin[]
  /** Of a zero gap, which is complete when it is planned. */
  readonly grant: StreamGrant | null
}

/** Told as bytes and records go out and come to rest: `durableLsn` is what the replica has synced, `bytes` what was sent since the call began. */
export type StreamSink = (progress: { readonly durableLsn: number; readonly bytes: number }) => void

export interface StreamOptions {
  readonly elideDead?: boolean
  /** What follows `end` is asked for next, up to here: it may be on its way already. */
  readonly ahead?: number
  /** After so many bytes it may return early, with what is durable by then. */
  readonly maxBytes?: number
}

/** How a catch-up moves bytes. Each call is one round on the link of the session. */
export interface CatchUpIO {
  /** Sends (start, end]. @returns the LSN durable on the replica: `end`, or less where `maxBytes` were reached, but above `start` */
  stream(fence: Fence, start: number, end: number, sink: StreamSink, signal: AbortSignal, o?: StreamOptions): Promise<number>
  /** @returns the replica's durable LSN afterwards */
  truncate(fence: Fence, lsn: number, signal: AbortSignal): Promise<number>
}

/** Files of a manifest that the replica does not hold verified. */
export type Want = readonly FileRef[]

export interface RebuildIO {
  beginBase(fence: Fence, manifest: Manifest, signal: AbortSignal): Promise<Want>
  /** Sends the wanted files and the records (logFrom, baseLsn]; resends what fails its hash, at most `maxAttemptsPerFragment` times. */
  sendFragments(fence: Fence, want: Want, sink: (progress: { readonly files: number; readonly bytes: number }) => void, signal: AbortSignal): Promise<void>
  /** @returns the base LSN */
  install(fence: Fence, signal: AbortSignal): Promise<number>
  stream: CatchUpIO['stream']
}

export type StepKind = 'begin' | 'truncate' | 'progress' | 'base' | 'fragment' | 'install' | 'tail' | 'second_catchup' | 'complete' | 'release'
export interface Step {
  readonly index: number
  readonly kind: StepKind
  readonly lsn: number
  readonly bytes: number
}
export interface RunResult {
  readonly state: ReplicaState
  readonly achieved: number
  readonly entries: number
  readonly bytes: number
  readonly fragmentsSent: number
  readonly fragmentsReused: number
  /** From here on the stream goes on. */
  readonly grant: StreamGrant
}

/** One connection, frames in order. Made by a Transport; either side may send. */
export interface Link {
  /** Resolves when the frame is in the transport's buffer and that is below its bound. Bytes in it must not change afterwards. @throws TransportError */
  send(frame: WireFrame): Promise<void>
  /** Frames as they arrive; ends when the other side closed, throws what broke the connection or the error that it closed with. Iterated once. */
  readonly frames: AsyncIterable<WireFrame>
  /** The bytes of a `fragment` from here are not looked at any more: what comes next may be put there. Nobody has to say so. */
  recycle?(bytes: Uint8Array): void
  /** After what was sent. A reason that is a VarveError is told to the other side, where it comes out of `frames`; here sending and reading fail with it. */
  close(reason?: Error): Promise<void>
  readonly bufferedBytes: number
  /** For messages: the address of the other side. */
  readonly peer: string
}
/** A message and the fence of its header. */
export interface WireFrame {
  readonly epoch: number
  /** SessionId.seq; 0 = none. */
  readonly session: number
  readonly message: Message
}

/** What answers at an endpoint. */
export interface LinkHost {
  /** Serves one link until it ends; must not throw. */
  accept(link: Link): void
}

export interface Transport {
  /** An address that it would never go to is refused at once. @throws InvalidEndpointError */
  check?(endpoint: Endpoint): void
  /** @throws TransportError, AuthError, InvalidEndpointError */
  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Link>
  /** @returns where it listens (a port of 0 is settled) */
  listen(host: LinkHost, endpoint: Endpoint): Promise<AsyncDisposable & { readonly endpoint: Endpoint }>
}

export interface ReplicaAssignment {
  readonly id: ReplicaId
  readonly endpoint: Endpoint
  readonly role: 'voter' | 'learner'
}
export interface Assignment {
  readonly epoch: number
  readonly replicas: readonly ReplicaAssignment[]
  readonly recover?: Readonly<Record<ReplicaId, SessionKind>>
}
