// ship/ack.ts: who has what: the count behind C (shipping.md section 12). Pure: told of acknowledgements and states, asked what is committed.
//
// A node counts with what it has synced of the lineage of this epoch, said in its present session. Voters count while they are in sync or catching up; learners, voters
// that are being rebuilt, halted or out of reach do not, and one that came back with less than it once confirmed (a lost disk) does not before it is in sync again. N
// is the primary and its voters, present or not. A record of an older epoch is committed only together with one of this epoch: a majority may hold it and lose it to a
// newer writer all the same.
// Invariant: what was committed stays; no acknowledgement of another epoch or session changes anything.

import { QuorumTooSmallError } from '../errors-ship.ts'
import type { AckMode, ReplicaId, ReplicaState, SessionId } from './types.ts'

/** Voters whose acknowledgements count. */
const COUNTING: ReadonlySet<ReplicaState> = new Set<ReplicaState>(['in_sync', 'catching_up'])
const QUORUM_NODES_MIN = 3

interface Follower {
  /** A learner is followed too: it may be made a voter while its session lasts. */
  isVoter: boolean
  state: ReplicaState
  /** Of the acknowledgements that are believed; undefined: of none. */
  session: SessionId | undefined
  /** Synced there, as the session says; on the lineage of this epoch. */
  durable: number
  /** The most that it ever confirmed to this writer. */
  confirmed: number
  isAmnesic: boolean
}

export interface AckTrackerOptions {
  /** Of this writer. */
  readonly epoch: number
  /** LSN of its epoch record. */
  readonly firstLsn: number
}

/** A voter that has less than it once confirmed. */
export interface Amnesia {
  readonly confirmed: number
  readonly durable: number
}

export class AckTracker {
  readonly epoch: number
  readonly firstLsn: number
  private readonly followers = new Map<ReplicaId, Follower>()
  private voters: readonly Follower[] = []
  private localLsn = 0
  /** What was committed before is not for this one to say: the log's mode counted it, which may ask for fewer nodes than a single write does. */
  private readonly best: Record<AckMode, number> = { async: 0, quorum: 0, all: 0 }

  constructor({ epoch, firstLsn }: AckTrackerOptions) {
    this.epoch = epoch
    this.firstLsn = firstLsn
  }

  /** The voters from here on; those known before keep what they confirmed. */
  assign(ids: Iterable<ReplicaId>): void {
    const wanted = new Set(ids)
    for (const [id, follower] of this.followers) {
      follower.isVoter = wanted.has(id)
      if (!follower.isVoter && follower.session === undefined) this.followers.delete(id)
    }
    for (const id of wanted) if (!this.followers.has(id)) this.followers.set(id, unknown(true))
    this.voters = [...this.followers.values()].filter(({ isVoter }) => isVoter)
  }

  /** N */
  get nodes(): number {
    return 1 + this.voters.length
  }

  /** The primary has synced up to here. */
  local(lsn: number): void {
    this.localLsn = Math.max(this.localLsn, lsn)
  }

  /**
   * A session has begun: the replica has `durableLsn` of this lineage (R; the match point where a truncation is owed).
   *
   * @returns what it has forgotten, if it has; undefined: nothing, or it is no voter
   */
  follow(id: ReplicaId, session: SessionId, durableLsn: number): Amnesia | undefined {
    if (session.epoch !== this.epoch) return undefined
    let follower = this.followers.get(id)
    if (follower === undefined) this.followers.set(id, (follower = unknown(false)))
    follower.session = session
    follower.durable = durableLsn
    // It may have confirmed what this node then failed to sync, and was told to cut it.
    const confirmed = Math.min(follower.confirmed, this.localLsn)
    // It counts for C from here on, like what comes.
    follower.confirmed = durableLsn
    if (durableLsn >= confirmed) return undefined
    follower.isAmnesic = true
    return follower.isVoter ? { confirmed, durable: durableLsn } : undefined
  }

  /** That session is over: what the replica said in it no longer counts. One that was followed since stays. */
  unfollow(id: ReplicaId, session: SessionId): void {
    const follower = this.followers.get(id)
    if (follower === undefined || !isOf(follower, session)) return
    if (follower.isVoter) follower.session = undefined
    else this.followers.delete(id)
  }

  state(id: ReplicaId, state: ReplicaState): void {
    const follower = this.followers.get(id)
    if (follower === undefined) return
    follower.state = state
    if (state === 'in_sync') follower.isAmnesic = false
  }

  /** @returns whether it is of the session that is believed, and says something new */
  ack(id: ReplicaId, session: SessionId, durableLsn: number): boolean {
    const follower = this.followers.get(id)
    if (follower === undefined || !isOf(follower, session)) return false
    if (durableLsn <= follower.durable) return false
    follower.durable = durableLsn
    follower.confirmed = Math.max(follower.confirmed, durableLsn)
    return true
  }

  isAmnesic(id: ReplicaId): boolean {
    return this.followers.get(id)?.isAmnesic === true
  }

  /** The highest LSN that so many nodes as the mode asks for have said that they have; 0: none yet. Never down. */
  committedIn(mode: AckMode): number {
    const durable = this.count(mode)
    // Of an older epoch nothing by itself.
    if (durable >= this.firstLsn && durable > this.best[mode]) this.best[mode] = durable
    return this.best[mode]
  }

  private count(mode: AckMode): number {
    if (mode === 'async') return this.localLsn
    const others = this.voters.map((voter) => (counts(voter) ? Math.min(voter.durable, this.localLsn) : 0)).sort((a, b) => b - a)
    const needed = this.others(mode)
    return needed <= others.length ? others[needed - 1]! : 0
  }

  /** Nodes that have synced the record, the primary included. */
  durableNodes(lsn: number): number {
    let nodes = lsn <= this.localLsn ? 1 : 0
    for (const voter of this.voters) if (counts(voter) && voter.durable >= lsn) nodes++
    return nodes
  }

  /** Nodes that can confirm a record now, the primary included. */
  get reachable(): number {
    let nodes = 1
    for (const voter of this.voters) if (counts(voter)) nodes++
    return nodes
  }

  /** Nodes on which a record must be durable. @throws QuorumTooSmallError */
  neededNodes(mode: AckMode): number {
    this.check(mode)
    return 1 + this.others(mode)
  }

  /** @throws QuorumTooSmallError: two nodes have no majority that outlives one of them */
  check(mode: AckMode): void {
    if (mode !== 'quorum' || this.nodes >= QUORUM_NODES_MIN) return
    throw new QuorumTooSmallError(`a quorum needs ${QUORUM_NODES_MIN} nodes; with the voters assigned there are ${this.nodes}`, {
      details: { nodes: this.nodes, neededNodes: QUORUM_NODES_MIN },
    })
  }

  /** Replicas that must confirm. "all" of none is not everybody. */
  others(mode: AckMode): number {
    if (mode === 'async') return 0
    return mode === 'quorum' ? Math.max(1, Math.floor(this.nodes / 2)) : Math.max(1, this.nodes - 1)
  }
}

function unknown(isVoter: boolean): Follower {
  return { isVoter, state: 'disconnected', session: undefined, durable: 0, confirmed: 0, isAmnesic: false }
}

function isOf({ session: of }: Follower, { epoch, seq }: SessionId): boolean {
  return of !== undefined && of.epoch === epoch && of.seq === seq
}

function counts({ state, session, isAmnesic }: Follower): boolean {
  return session !== undefined && !isAmnesic && COUNTING.has(state)
}
