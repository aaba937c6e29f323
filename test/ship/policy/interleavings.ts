// Two sessions, one raise of the epoch and one crash over a log of three entries: a small world around the real Sender and Registry, of which every
// interleaving is run. The replica is the plainest one that obeys shipping.md section 11; it and the primary's log are written down as lists of entries.
//
// A world is made again from its schedule, so that the real objects need no copies. Invariant: no step depends on anything but the schedule before it.
import { SessionFencedError } from '../../../bindings/errors-ship.ts'
import { FencedError } from '../../../bindings/errors.ts'
import { digestQuestion, matchPoint, type Sender } from '../../../bindings/ship/index.ts'
import type { EpochMark, Fence, Hello, Registry, RetainedHistory, SessionId, StreamGrant } from '../../../bindings/ship/index.ts'
import { hello, makeRegistry, policy, R1, replica } from './kit.ts'

/** `writer:epoch`; its LSN is its place. */
type Entry = string
/** The primary's log: the second and third entry are of epoch 2, its own. */
const LOG: readonly Entry[] = ['a:1', 'b:2', 'b:2']

export interface Start {
  readonly name: string
  readonly replica: readonly Entry[]
  readonly promised: number
  readonly committed: number
  readonly lineage: boolean
  readonly ends: 'in_sync' | 'stuck'
}

export const STARTS: readonly Start[] = [
  { name: 'an empty replica', replica: [], promised: 0, committed: 3, lineage: true, ends: 'in_sync' },
  { name: 'one entry behind what is committed', replica: ['a:1', 'b:2'], promised: 2, committed: 3, lineage: true, ends: 'in_sync' },
  { name: 'equal', replica: LOG, promised: 3, committed: 3, lineage: true, ends: 'in_sync' },
  { name: 'ahead of what is committed', replica: LOG, promised: 1, committed: 1, lineage: true, ends: 'in_sync' },
  { name: 'a tail of the old writer, as long', replica: ['a:1', 'x:1', 'x:1'], promised: 1, committed: 3, lineage: true, ends: 'in_sync' },
  { name: 'a tail of the old writer, longer', replica: ['a:1', 'x:1', 'x:1', 'x:1'], promised: 0, committed: 2, lineage: true, ends: 'in_sync' },
  { name: 'a tail of the old writer that was promised', replica: ['a:1', 'x:1'], promised: 2, committed: 3, lineage: true, ends: 'stuck' },
  { name: 'another history of the same epochs', replica: ['a:1', 'y:2', 'y:2'], promised: 0, committed: 3, lineage: true, ends: 'stuck' },
  { name: 'no lineage, behind', replica: ['a:1'], promised: 1, committed: 3, lineage: false, ends: 'in_sync' },
]

/** What may be left out, to see that it is missed. */
export interface Rules {
  /** The replica refuses messages of older sessions. */
  readonly hostFence: boolean
  /** The sender refuses calls of older sessions. */
  readonly senderFence: boolean
  /** An owed truncation is made before a session completes. */
  readonly truncates: boolean
  /** Digests are compared. */
  readonly digests: boolean
  /** Only what was synced is told as durable. */
  readonly syncsFirst: boolean
}
export const ALL_RULES: Rules = { hostFence: true, senderFence: true, truncates: true, digests: true, syncsFirst: true }

type Request =
  | { readonly type: 'hello' }
  | { readonly type: 'truncate'; readonly lsn: number }
  | { readonly type: 'entry'; readonly lsn: number; readonly entry: Entry }
type Reply =
  | { readonly type: 'hello'; readonly log: readonly Entry[]; readonly promised: number; readonly epochSeen: number }
  | { readonly type: 'truncated' | 'ack'; readonly lsn: number }
  | { readonly type: 'refused' }

interface Actor {
  stage: 'idle' | 'attached' | 'working' | 'done'
  id: SessionId | null
  fence: Fence | null
  requests: Request[]
  replies: Reply[]
  cut: boolean
  /** Highest LSN that it reported. */
  reported: number
}

export class World {
  readonly #start: Start
  readonly #rules: Rules
  #registry: Registry
  readonly #host: { log: Entry[]; pending: Entry[]; promised: number; epoch: number; seq: number }
  readonly #actors: Actor[] = [0, 1].map(() => ({ stage: 'idle', id: null, fence: null, requests: [], replies: [], cut: false, reported: 0 }))
  #raised = false
  #crashed = false
  #grant: StreamGrant | null = null
  #target: number | null = null
  readonly #ids = new Set<string>()
  /** What is wrong, once something is. */
  wrong: string | undefined

  constructor(start: Start, rules: Rules) {
    this.#start = start
    this.#rules = rules
    this.#registry = this.#primary(2)
    this.#host = { log: [...start.replica], pending: [], promised: start.promised, epoch: 1, seq: 0 }
  }

  /** Every step that is possible now. */
  steps(): string[] {
    const steps: string[] = []
    this.#actors.forEach((actor, k) => {
      if (actor.stage === 'idle') steps.push(`attach ${k}`)
      if (actor.stage === 'attached') steps.push(`connect ${k}`)
      if (actor.requests.length > 0) steps.push(`deliver ${k}`)
      if (actor.stage === 'working' && (actor.replies.length > 0 || actor.cut)) steps.push(`reply ${k}`)
    })
    if (this.#host.pending.length > 0) steps.push('sync')
    if (!this.#raised) steps.push('raise')
    if (!this.#crashed) steps.push('crash replica', 'crash primary')
    return steps
  }

  run(step: string): void {
    const [what, k] = step.split(' ') as [string, string]
    const actor = this.#actors[Number(k)]
    const log = [...this.#host.log]
    if (what === 'attach') this.#attach(actor!)
    if (what === 'connect') this.#call(actor!, (sender, id) => (sender.beginConnect(id), actor!.requests.push({ type: 'hello' }), (actor!.stage = 'working')))
    if (what === 'deliver') this.#deliver(actor!)
    if (what === 'reply') this.#reply(actor!)
    if (what === 'sync') this.#sync()
    if (what === 'raise') this.#raise()
    if (what === 'crash') this.#crash(k)
    this.#check(step, log)
  }

  /** Without further faults one more session must bring the replica in sync, unless there is a reason not to. */
  settle(): void {
    for (const actor of this.#actors) if (actor.stage === 'idle') actor.stage = 'done'
    const sender = this.#sender
    if (sender.session() !== null) sender.invalidate(sender.session()!.id, 'settled', 'disconnected')
    for (const actor of this.#actors) Object.assign(actor, { stage: 'done', requests: [], replies: [] })
    if (sender.state === 'halted' || sender.state === 'needs_rebuild') return
    this.#host.pending = []
    this.#actors[0] = { stage: 'idle', id: null, fence: null, requests: [], replies: [], cut: false, reported: 0 }
    for (let turn = 0; turn < 60 && this.wrong === undefined; turn++) {
      const step = this.steps().find((each) => !each.startsWith('crash') && each !== 'raise')
      if (step === undefined) break
      this.run(step)
    }
    const { state } = sender.status()
    const isStuck = state === 'halted' || state === 'needs_rebuild'
    if (this.#start.ends === 'in_sync' ? state !== 'in_sync' : !isStuck) this.wrong ??= `left ${state} at the end`
  }

  /** Everything that the future depends on. */
  key(): string {
    const { session, state, epoch } = this.#sender.status()
    const live =
      session === null ? null : [session.id, session.phase, session.start, session.target, session.truncateTo, session.truncated, session.recoveredTo]
    return JSON.stringify([this.#host, this.#actors, state, epoch, live, this.#raised, this.#crashed, this.#grant?.cursor])
  }

  get #sender(): Sender {
    return this.#registry.sender(R1)
  }

  #primary(epoch: number): Registry {
    const registry = makeRegistry(policy(), epoch)
    registry.apply({ epoch, replicas: [replica('r1')] })
    return registry
  }

  #attach(actor: Actor): void {
    const sender = this.#sender
    try {
      actor.id = sender.session() === null ? sender.attach(sender.epoch, 'catchup') : sender.supersede('catchup', 'assignment')
    } catch (error) {
      if (!['RebuildRequiredError', 'FencedError'].includes((error as Error).name)) throw error
      actor.stage = 'done'
      return
    }
    actor.fence = sender.session()!.fence
    actor.stage = 'attached'
    const text = `${actor.id.epoch}.${actor.id.seq}`
    if (this.#ids.has(text)) this.wrong = `session id ${text} twice`
    this.#ids.add(text)
    this.#target = null
  }

  /** A call for the session of `actor`. One that is stale must be refused and change nothing. */
  #call(actor: Actor, fn: (sender: Sender, id: SessionId) => unknown): void {
    const sender = this.#sender
    const active = sender.session()?.id
    const isStale = active === undefined || active.epoch !== actor.id!.epoch || active.seq !== actor.id!.seq
    const before = JSON.stringify(sender.status())
    try {
      fn(sender, !this.#rules.senderFence && active !== undefined ? active : actor.id!)
      if (isStale && JSON.stringify(sender.status()) !== before) this.wrong = 'a stale session changed its sender'
    } catch (error) {
      if (!(error instanceof SessionFencedError || error instanceof FencedError)) throw error
      actor.stage = 'done'
      if (!isStale && error instanceof SessionFencedError) this.wrong = 'the active session was refused'
    }
  }

  #deliver(actor: Actor): void {
    const host = this.#host
    const request = actor.requests.shift()!
    const { epoch, seq } = actor.id!
    const isOld = epoch < host.epoch || (epoch === host.epoch && seq < host.seq)
    if (request.type === 'hello') {
      actor.replies.push({ type: 'hello', log: [...host.log], promised: host.promised, epochSeen: host.epoch })
      if (!isOld) Object.assign(host, { epoch, seq, pending: [] })
      return
    }
    if (isOld && this.#rules.hostFence) {
      actor.requests = []
      actor.replies.push({ type: 'refused' })
      return
    }
    if (request.type === 'truncate') {
      if (request.lsn < host.promised) this.wrong = 'a truncation below what was promised'
      host.log = host.log.slice(0, request.lsn)
      host.pending = []
      actor.replies.push({ type: 'truncated', lsn: host.log.length })
    } else if (request.lsn === host.log.length + host.pending.length + 1) {
      host.pending.push(request.entry)
      if (!this.#rules.syncsFirst) actor.replies.push({ type: 'ack', lsn: request.lsn })
    }
  }

  #sync(): void {
    const host = this.#host
    host.log.push(...host.pending)
    host.pending = []
    const actor = this.#actors.find((each) => each.id?.epoch === host.epoch && each.id.seq === host.seq)
    if (actor !== undefined && !actor.cut && this.#rules.syncsFirst) actor.replies.push({ type: 'ack', lsn: host.log.length })
  }

  #reply(actor: Actor): void {
    const reply = actor.replies.shift()
    if (reply === undefined || reply.type === 'refused') {
      this.#sender.fail(actor.id!, 'transport_failed')
      actor.stage = 'done'
      return
    }
    this.#call(actor, (sender, id) => {
      if (reply.type === 'hello') this.#handshake(actor, sender, id, reply)
      if (reply.type === 'truncated') sender.recordTruncation(id, reply.lsn)
      if (reply.type === 'ack' && reply.lsn > actor.reported) sender.recordProgress(id, (actor.reported = reply.lsn))
      this.#goOn(actor, sender, id, reply.type)
    })
  }

  #handshake(actor: Actor, sender: Sender, id: SessionId, reply: Reply & { type: 'hello' }): void {
    const at = this.#history()
    const of = this.#hello(reply)
    const matchLsn = matchPoint(of, at)
    const asked = digestQuestion(of, at)
    const isEqual = asked === null || LOG.slice(0, asked).every((entry, i) => entry === reply.log[i])
    const agrees = asked === null ? undefined : isEqual || !this.#rules.digests
    const { outcome, start } = sender.recordHandshake(id, of, at, matchLsn === null ? null : { matchLsn, agrees, replicaSound: true })
    actor.reported = start
    if (outcome === 'halt' || outcome === 'needs_rebuild') actor.stage = 'done'
    else if (sender.session()!.start < sender.session()!.target || sender.session()!.truncateTo !== null) sender.beginCatchUp(id)
  }

  /** Truncate first, then stream, then complete. */
  #goOn(actor: Actor, sender: Sender, id: SessionId, after: Reply['type']): void {
    const session = sender.session()
    if (session === null || actor.stage === 'done') return
    const owes = session.truncateTo !== null && !session.truncated
    if (owes && this.#rules.truncates) return void actor.requests.push({ type: 'truncate', lsn: session.truncateTo! })
    if (owes) sender.recordTruncation(id, session.truncateTo!)
    if (session.recoveredTo < session.target) {
      if (after === 'ack') return
      for (let lsn = session.start + 1; lsn <= session.target; lsn++) actor.requests.push({ type: 'entry', lsn, entry: LOG[lsn - 1]! })
      return
    }
    this.#grant = sender.completeCatchUp(id)
    sender.streamOpened(this.#grant.fence, { close: () => (this.#grant = null) })
    actor.stage = 'done'
  }

  #raise(): void {
    this.#raised = true
    this.#registry.raiseEpoch(this.#registry.epoch + 1)
  }

  #crash(which: string): void {
    this.#crashed = true
    if (which === 'replica') {
      this.#host.pending = []
      for (const actor of this.#actors) Object.assign(actor, { requests: [], replies: [], cut: actor.stage !== 'idle' })
      this.#sender.markDegraded('transport_failed')
      return
    }
    // What the dead process had sent is still on its way.
    this.#registry = this.#primary(this.#registry.epoch + 1)
    this.#grant = null
    for (const actor of this.#actors) if (actor.stage !== 'idle') Object.assign(actor, { stage: 'done', replies: [] })
  }

  #history(): RetainedHistory {
    const { committed } = this.#start
    return { headLsn: 3, tailLsn: 0, fragmentFloorLsn: 0, committedLsn: committed, checkpoint: null, lineage: lineageOf(LOG) }
  }

  #hello(reply: Reply & { type: 'hello' }): Hello {
    const lineage = this.#start.lineage ? lineageOf(reply.log) : null
    return hello({ durableLsn: reply.log.length, committedLsn: reply.promised, lineage, epochSeen: reply.epochSeen })
  }

  #check(step: string, before: readonly Entry[]): void {
    const { session, streaming, state } = this.#sender.status()
    const held = this.#host.log
    if (session !== null && streaming) this.wrong ??= 'a session beside a stream'
    if (session?.phase === 'catchup') {
      this.#target ??= session.target
      if (session.target !== this.#target) this.wrong ??= 'the target moved'
      if (session.recoveredTo > session.target) this.wrong ??= 'progress beyond the target'
    }
    if (held.length < this.#start.promised && held.length < before.length) this.wrong ??= `${step} took what was promised`
    if (state !== 'in_sync') return
    if (this.#grant === null) this.wrong ??= 'in sync without a grant'
    const achieved = this.#grant?.pinnedFrom ?? 0
    if (held.length < achieved) this.wrong ??= `in sync at ${achieved}, but the replica holds ${held.length}`
    // What follows `achieved` there must be empty, or ours: the stream goes on from it.
    if (!held.every((entry, i) => entry === LOG[i])) this.wrong ??= `in sync, but the replica holds ${held.join(' ')}`
    if (session === null && !streaming) this.wrong ??= 'in sync without a stream'
  }
}

function lineageOf(log: readonly Entry[]): EpochMark[] {
  const lineage: EpochMark[] = []
  log.forEach((entry, i) => {
    const epoch = Number(entry.split(':')[1])
    if (lineage.at(-1)?.epoch !== epoch) lineage.push({ epoch, firstLsn: i + 1 })
  })
  return lineage
}

export interface Explored {
  readonly states: number
  readonly steps: number
  readonly wrong: string | undefined
  readonly schedule: readonly string[]
}

/** Every interleaving, breadth first, each distinct state once; the shortest schedule to what is wrong. */
export function exploreAll(start: Start, rules: Rules): Explored {
  const seen = new Set<string>()
  let level: string[][] = [[]]
  let steps = 0
  const remake = (schedule: readonly string[]): World => {
    const world = new World(start, rules)
    for (const step of schedule) world.run(step)
    steps += schedule.length
    return world
  }
  while (level.length > 0) {
    const next: string[][] = []
    for (const schedule of level) {
      for (const step of remake(schedule).steps()) {
        const longer = [...schedule, step]
        const world = remake(longer)
        if (world.wrong === undefined) {
          const key = world.key()
          if (seen.has(key)) continue
          seen.add(key)
          world.settle()
          if (world.wrong !== undefined) longer.push('settle')
        }
        if (world.wrong !== undefined) return { states: seen.size, steps, wrong: world.wrong, schedule: longer }
        next.push(longer)
      }
    }
    level = next
  }
  return { states: seen.size, steps, wrong: undefined, schedule: [] }
}
