// A primary without a store, and a replica without a link: what the planner and the executors see of either, under the hand of a test.
import { expect } from 'vitest'

import { PinRefusedError } from '../../../bindings/errors.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import { FailpointRegistry } from '../../../bindings/runtime/index.ts'
import {
  type CatchUpIO,
  type Fence,
  type FileRef,
  type FullBasePin,
  type Hello,
  type HistorySource,
  type Manifest,
  type PinKind,
  type PinLogOptions,
  Planner,
  PROTOCOL_VERSION,
  type Questions,
  type RebuildIO,
  RecoveryLog,
  type RecoveryPlan,
  Registry,
  replicaId,
  type ReplicaId,
  type RetainedHistory,
  type SessionId,
  type SessionKind,
  type SessionOptions,
  SessionSequence,
  type ShipPin,
  type Step,
  type StreamOptions,
  type StreamSink,
  type Want,
} from '../../../bindings/ship/index.ts'
import { FakeClock } from '../../../bindings/testing/fake-clock.ts'
import { TERMINAL } from '../../sim/ship/checkers/records.ts'

export const R1: ReplicaId = replicaId('r1')
const STORE_ID = '00112233445566778899aabbccddeeff'

export const digestOf = (lsn: number, history = 'one'): Uint8Array => sha256(new TextEncoder().encode(`${history} ${lsn}`))

const fileOf = (n: number): FileRef => {
  const hash = digestOf(n, 'file')
  const hex = Buffer.from(hash).toString('hex')
  return { name: `fragments/${hex.slice(0, 2)}/${hex}.arrow`, hash, bytes: 1000 + n }
}

export class FakePin implements FullBasePin {
  readonly id: string
  readonly kind: PinKind
  readonly owner: ShipPin['owner']
  readonly manifest: Manifest
  readonly isRebuild: boolean
  lsn: number
  valid = true
  releases = 0
  onLimit: ShipPin['onLimit']
  private readonly o: FakeHistory

  constructor(o: FakeHistory, kind: PinKind, lsn: number, owner: ShipPin['owner'], manifest: Manifest, isRebuild: boolean) {
    this.o = o
    this.id = `pin ${o.granted.length}`
    this.kind = kind
    this.lsn = lsn
    this.owner = owner
    this.manifest = manifest
    this.isRebuild = isRebuild
  }
  advance(lsn: number): void {
    this.lsn = lsn
  }
  release(): void {
    this.releases++
    if (this.valid) this.o.trace.push(`release ${this.kind} ${this.lsn}`)
    if (this.valid) this.o.order.push('release')
    this.valid = false
  }
  [Symbol.dispose](): void {
    this.release()
  }
}

/** H = C = 100, T = 30, everything else as a test sets it. */
export class FakeHistory implements HistorySource {
  head = 100
  tail = 30
  floor = 0
  committed = 100
  checkpoint: { lsn: number; trusted: boolean } | null = { lsn: 50, trusted: true }
  lineage: readonly { epoch: number; firstLsn: number }[] = [{ epoch: 1, firstLsn: 1 }]
  files = 3
  /** Kinds that are refused. */
  readonly refuse: Set<PinKind> = new Set()
  readonly granted: FakePin[] = []
  /** Pins taken and given back. */
  readonly trace: string[] = []
  /** Ends of sessions and releases, as they came. */
  readonly order: string[] = []
  /** Called after each pin. */
  pinned: () => void = () => undefined

  get open(): FakePin[] {
    return this.granted.filter(({ valid }) => valid)
  }

  /** Called at each look, with how many there were. */
  looked: (n: number) => void = () => undefined
  private looks = 0

  read(): Promise<RetainedHistory> {
    this.looked(this.looks++)
    const { head, tail, floor, committed, checkpoint, lineage } = this
    return Promise.resolve({
      headLsn: head,
      tailLsn: tail,
      fragmentFloorLsn: floor,
      committedLsn: committed,
      checkpoint: checkpoint === null ? null : { ...checkpoint, manifestHash: digestOf(checkpoint.lsn, 'manifest') },
      lineage,
    })
  }
  needed(): Promise<ReadonlySet<string>> {
    return Promise.resolve(new Set())
  }
  digestAt(lsn: number): Promise<Uint8Array> {
    return Promise.resolve(digestOf(lsn))
  }
  pinLog(start: number, owner: ShipPin['owner'], o: PinLogOptions = {}): Promise<ShipPin> {
    return this.pin('log', start, owner, o.isRebuild === true)
  }
  pinSnapshot(lsn: number, owner: ShipPin['owner']): Promise<FullBasePin> {
    return this.pin('snapshot', lsn, owner, true)
  }
  pinFullBase(minLsn: number, owner: ShipPin['owner']): Promise<FullBasePin> {
    return this.pin('full_base', Math.max(minLsn, this.tail, this.floor), owner, true)
  }

  private async pin(kind: PinKind, lsn: number, owner: ShipPin['owner'], isRebuild: boolean): Promise<FakePin> {
    await Promise.resolve()
    this.trace.push(`pin ${kind} ${lsn}`)
    if (this.refuse.has(kind) || (kind === 'log' && lsn < this.tail)) {
      throw new PinRefusedError(`no ${kind} pin at ${lsn}`, { details: { asked: BigInt(lsn), tail: BigInt(this.tail), floor: BigInt(this.tail) } })
    }
    const manifest: Manifest = {
      storeId: Uint8Array.from(Buffer.from(STORE_ID, 'hex')),
      baseLsn: lsn,
      digest: digestOf(lsn),
      lineage: this.lineage,
      logFrom: lsn,
      logDigest: digestOf(lsn),
      checkpoint: { name: `checkpoints/${String(lsn).padStart(20, '0')}.ckpt`, hash: digestOf(lsn, 'checkpoint'), bytes: 500 },
      files: Array.from({ length: this.files }, (_, i) => fileOf(i)),
    }
    const pin = new FakePin(this, kind, lsn, owner, manifest, isRebuild)
    this.granted.push(pin)
    this.pinned()
    return pin
  }
}

export interface Bench {
  readonly clock: FakeClock
  readonly history: FakeHistory
  readonly registry: Registry
  readonly log: RecoveryLog
  readonly planner: Planner
  readonly failpoints: FailpointRegistry
  /** Events of r1 since the last call. */
  events(): string[]
  /** Fails unless every pin that was given back went behind the end of its session. */
  inOrder(): void
}

export function bench(o: { readonly elision?: boolean } = {}): Bench {
  const clock = new FakeClock(1_700_000_000_000, { turns: 1 })
  const failpoints = new FailpointRegistry(clock.timers)
  const log = new RecoveryLog({ clock: clock.clock })
  const registry = new Registry({ storeId: STORE_ID, clock: clock.clock, log, sequence: new SessionSequence() }, 1)
  const history = new FakeHistory()
  const planner = new Planner({ registry, history, log, world: { clock: clock.clock, timers: clock.timers, failpoints }, ...o })
  registry.apply({ epoch: 1, replicas: [{ id: R1, endpoint: { data: 'one:1', version: 1 }, role: 'voter' }] })
  const ends = new Set(['session_invalidated', 'session_failed', 'session_superseded'])
  log.subscribe(({ event }) => void (ends.has(event) && history.order.push('end')))
  registry.subscribe(({ to }) => void (to === 'in_sync' && history.order.push('end')))
  const inOrder = (): void => {
    const first = history.order.indexOf('release')
    if (first >= 0 && !history.order.slice(0, first).includes('end')) throw new Error(`pins went before the session: ${history.order.join(', ')}`)
  }
  let seen = 0
  const events = (): string[] => {
    const fresh = log.since(seen)
    seen = fresh.at(-1)?.seq ?? seen
    return fresh.map(({ event }) => event)
  }
  events()
  return { clock, history, registry, log, planner, failpoints, events, inOrder }
}

/** What r1 says of itself: R = 70, and nothing it was promised, on the primary's line. */
export function helloOf(o: Partial<Hello> & { readonly history?: string } = {}): Hello {
  const { history: told = 'one', ...rest } = o
  const durableLsn = o.durableLsn ?? 70
  return {
    protocol: PROTOCOL_VERSION,
    replicaId: R1,
    storeId: STORE_ID,
    epochSeen: 1,
    durableLsn,
    committedLsn: 0,
    tailLsn: 0,
    lineage: durableLsn === 0 ? [] : [{ epoch: 1, firstLsn: 1 }],
    digest: digestOf(durableLsn, told),
    checkpoints: [],
    rebuildInProgress: null,
    isWhole: true,
    elided: null,
    ...rest,
  }
}

export const ASK: Questions = { digestAt: (lsn) => Promise.resolve(digestOf(lsn)), verifySelf: () => Promise.resolve({ ok: true }) }

/** A session of r1 that is connected. */
export function connected({ registry }: Bench, kind: SessionKind = 'catchup', o: SessionOptions = {}): SessionId {
  const sender = registry.sender(R1)
  const id = sender.attach(registry.epoch, kind, o)
  sender.beginConnect(id)
  return id
}

/** A plan for r1, which owes a rebuild where `kind` is one. */
export async function planned(b: Bench, kind: SessionKind = 'catchup', hello: Hello = helloOf(), o: SessionOptions = {}): Promise<RecoveryPlan> {
  connected(b, kind, o)
  return await (kind === 'rebuild' ? b.planner.planRebuild(R1, hello, ASK) : b.planner.planRecovery(R1, hello, ASK))
}

type Call = 'stream' | 'truncate' | 'beginBase' | 'sendFragments' | 'install'

/** A replica that does at once what it is told; `before` sees each call and may throw or hang. */
export class FakeIO implements CatchUpIO, RebuildIO {
  readonly calls: string[] = []
  before: (call: Call, n: number, signal: AbortSignal) => void | Promise<void> = () => undefined
  /** Files of a base that it holds. */
  held = 0
  /** What comes back of a stream; default its end. */
  reaches: (end: number) => number = (end) => end
  signals: AbortSignal[] = []

  async stream(_fence: Fence, start: number, end: number, sink: StreamSink, signal: AbortSignal, _o?: StreamOptions): Promise<number> {
    await this.called('stream', `(${start}, ${end}]`, signal)
    const middle = Math.floor((start + end) / 2)
    sink({ durableLsn: middle, bytes: (middle - start) * 10 })
    await Promise.resolve()
    const reached = this.reaches(end)
    sink({ durableLsn: reached, bytes: (reached - start) * 10 })
    return reached
  }
  async truncate(_fence: Fence, lsn: number, signal: AbortSignal): Promise<number> {
    await this.called('truncate', String(lsn), signal)
    return lsn
  }
  async beginBase(_fence: Fence, manifest: Manifest, signal: AbortSignal): Promise<Want> {
    await this.called('beginBase', String(manifest.baseLsn), signal)
    this.base = manifest.baseLsn
    return [manifest.checkpoint, ...manifest.files].slice(this.held)
  }
  async sendFragments(_fence: Fence, want: Want, sink: (p: { files: number; bytes: number }) => void, signal: AbortSignal): Promise<void> {
    await this.called('sendFragments', String(want.length), signal)
    let bytes = 0
    want.forEach((file, i) => sink({ files: i + 1, bytes: (bytes += file.bytes) }))
  }
  async install(_fence: Fence, signal: AbortSignal): Promise<number> {
    await this.called('install', String(this.base), signal)
    return this.base
  }

  private base = 0
  private async called(call: Call, what: string, signal: AbortSignal): Promise<void> {
    this.calls.push(`${call} ${what}`)
    this.signals.push(signal)
    await this.before(call, this.calls.length - 1, signal)
    await Promise.resolve()
  }
}

/** Keeps what it was told. */
export function stepper(): { readonly steps: Step[]; readonly onStep: (step: Step) => void } {
  const steps: Step[] = []
  return { steps, onStep: (step) => void steps.push(step) }
}

/** A promise that never settles. */
export const forever = (): Promise<never> => new Promise(() => {})

/** What every run leaves, however it ended: no session, no pin, one terminal event, one release with a reason. */
export function expectClean(b: Bench, plan: RecoveryPlan, reason: string | RegExp): void {
  b.inOrder()
  expect(b.history.open).toEqual([])
  expect(b.history.granted.map(({ releases }) => releases)).toEqual(plan.pins.map(() => 1))
  expect(b.registry.sender(R1).session()).toBeNull()
  const released = b.log.eventsFor(R1).filter(({ event }) => event === 'exec_resources_released')
  expect(released).toHaveLength(1)
  expect(released[0]!.detail).toMatch(reason)
  const terminal = b.log.eventsFor(R1).filter(({ event, sessionId }) => TERMINAL.has(event) && sessionId?.seq === plan.fence.sessionId.seq)
  expect(terminal.map(({ event }) => event)).toHaveLength(1)
  expect(b.clock.pending).toBe(0)
}
