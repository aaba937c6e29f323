// What the tests of the policy share: a clock that they move, facts with the numbers of shipping.md section 16, and ways into each phase of a session.
import {
  type Agreement,
  classify,
  digestQuestion,
  matchPoint,
  RecoveryLog,
  Registry,
  replicaId,
  Sender,
  SessionSequence,
} from '../../../bindings/ship/index.ts'
import type { EpochMark, Handshake, Hello, ReplicaAssignment, ReplicaId, RetainedHistory, SessionId, ShipContext } from '../../../bindings/ship/index.ts'
import type { ClassifyOptions, SessionOptions } from '../../../bindings/ship/index.ts'

export const STORE: string = 'ab'.repeat(16)
export const R1: ReplicaId = replicaId('r1')

export class FakeClock {
  now = 0
  nowMs(): number {
    return 1_700_000_000_000 + this.now
  }
  monoMs(): number {
    return this.now
  }
}

export interface Policy extends ShipContext {
  readonly clock: FakeClock
}

export function policy(): Policy {
  const clock = new FakeClock()
  return { storeId: STORE, clock, log: new RecoveryLog({ clock }), sequence: new SessionSequence() }
}

export function replica(name: string, version = 1, role: ReplicaAssignment['role'] = 'voter'): ReplicaAssignment {
  return { id: replicaId(name), endpoint: { data: `${name}:${7000 + version}`, version }, role }
}

export function makeSender(context: Policy = policy(), epoch = 1): Sender {
  return new Sender(context, replica('r1'), epoch)
}

export function makeRegistry(context: Policy = policy(), epoch = 1): Registry {
  return new Registry(context, epoch)
}

/** Everything at 100, nothing trimmed, one epoch. */
export function history(of: Partial<RetainedHistory> = {}): RetainedHistory {
  const headLsn = of.headLsn ?? 100
  return {
    headLsn,
    tailLsn: 0,
    fragmentFloorLsn: 0,
    committedLsn: Math.min(headLsn, 100),
    checkpoint: null,
    lineage: headLsn === 0 ? [] : [{ epoch: 1, firstLsn: 1 }],
    ...of,
  }
}

export function hello(of: Partial<Hello> = {}): Hello {
  const durableLsn = of.durableLsn ?? 100
  return {
    protocol: 1,
    replicaId: R1,
    storeId: STORE,
    epochSeen: 1,
    durableLsn,
    committedLsn: 0,
    tailLsn: 0,
    lineage: durableLsn === 0 ? [] : [{ epoch: 1, firstLsn: 1 }],
    digest: new Uint8Array(32),
    checkpoints: [],
    rebuildInProgress: null,
    isWhole: true,
    elided: null,
    ...of,
  }
}

/** What the digests say when the logs are as their lineages tell; `agrees: false` for another history under the same numbers. */
export function agreement(of: Hello, at: RetainedHistory, conflict?: { readonly replicaSound?: boolean }): Agreement | null {
  const matchLsn = matchPoint(of, at)
  if (matchLsn === null) return null
  const asked = digestQuestion(of, at)
  if (asked === null) return { matchLsn, agrees: undefined }
  return conflict === undefined ? { matchLsn, agrees: true } : { matchLsn, agrees: false, ...conflict }
}

export function decide(of: Hello, at: RetainedHistory, o: ClassifyOptions = {}, conflict?: { readonly replicaSound?: boolean }): Handshake {
  return classify(of, at, agreement(of, at, conflict), o)
}

/** A hello of a replica that sends no lineage. */
export function bare(of: Partial<Hello> = {}): Hello {
  return hello({ ...of, lineage: null })
}

export function shake(sender: Sender, id: SessionId, of: Hello, at: RetainedHistory, conflict?: { readonly replicaSound?: boolean }): Handshake {
  return sender.recordHandshake(id, of, at, agreement(of, at, conflict))
}

/** A session that is catching up (R, C]. */
export function catchingUp(sender: Sender, R = 70, o: SessionOptions = {}, at: RetainedHistory = history()): SessionId {
  const id = sender.attach(sender.epoch, 'catchup', o)
  sender.beginConnect(id)
  shake(sender, id, hello({ durableLsn: R }), at)
  sender.beginCatchUp(id)
  return id
}

/** A session of kind rebuild after its handshake. */
export function rebuilding(sender: Sender, o: SessionOptions = {}, at: RetainedHistory = history({ tailLsn: 30 })): SessionId {
  const id = sender.attach(sender.epoch, 'rebuild', o)
  sender.beginConnect(id)
  shake(sender, id, hello({ durableLsn: 10 }), at)
  return id
}

export function marks(...of: readonly (readonly [epoch: number, firstLsn: number])[]): EpochMark[] {
  return of.map(([epoch, firstLsn]) => ({ epoch, firstLsn }))
}

/** Two logs that part at 50: 51.. is of epoch 3 here and of epoch 2 there. */
export const PARTED: { readonly here: EpochMark[]; readonly there: EpochMark[] } = { here: marks([1, 1], [3, 51]), there: marks([1, 1], [2, 51]) }
