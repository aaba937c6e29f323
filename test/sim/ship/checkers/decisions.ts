// I18: the same facts lead to the same decision, whatever came before them and in whatever order.
//
// The facts of each handshake are put together from outside: the hello as it came over the wire, the positions that the handshake names, and where both logs part by
// the tree of histories. classify() must come to what the primary came to, and so must a sender that was made for this one handshake, after the same independent
// events in another order. Acknowledgements that came between two changes of a sender are counted again, in another order of the replicas.

import { toHex } from '../../../../bindings/format/index.ts'
import {
  AckTracker,
  type Agreement,
  classify,
  digestQuestion,
  type Hello,
  type RecoveryEvent,
  RecoveryLog,
  Registry,
  type ReplicaId,
  type RetainedHistory,
  type SessionId,
  type SessionKind,
  SessionSequence,
  type WireFrame,
} from '../../../../bindings/ship/index.ts'
import { Dice } from '../../durable/dice.ts'
import { type Checker, sessionOf } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { ancestor, type Place } from '../history.ts'
import { textOf, type Writer } from '../writer.ts'

type Of<T extends WireFrame['message']['type']> = Extract<WireFrame['message'], { type: T }>

/** What a session asked and was told before its handshake. */
interface Asked {
  reply?: Of<'helloReply'>
  digest?: Of<'digestReply'>
  isSound?: boolean
}

interface Facts {
  readonly hello: Hello
  readonly history: RetainedHistory
  readonly agreement: Agreement | null
}

/** I18, of handshakes. */
export function sameFactsSameDecision(): Checker {
  const name = 'I18 same facts, same decision'
  const asked = new Map<string, Asked>()
  const kinds = new Map<string, SessionKind>()
  const dice = new Dice(18)
  return {
    name,
    frame(_, machine, way, { epoch, session, message }) {
      if (way !== 'taken') return
      const id = sessionOf(machine, { epoch, seq: session })
      if (message.type === 'helloReply') asked.set(id, { reply: message })
      const of = asked.get(id)
      if (of === undefined) return
      // The first: a question of an earlier session may come once more over this link, and is answered again.
      if (message.type === 'digestReply') of.digest ??= message
      else if (message.type === 'verified') of.isSound ??= message.ok
    },
    noted(c, writer, event) {
      if (event.sessionId === null) return
      const id = sessionOf(writer, event.sessionId)
      if (event.event === 'session_created') kinds.set(id, event.fields['kind'] as SessionKind)
      if (event.event !== 'handshake') return
      const known = [undefined, writer].map((states) => factsOf(c, writer, event, asked.get(id), states))
      asked.delete(id)
      if (known[0] === undefined) return
      const { outcome, reason } = event.fields
      const isSame = ({ hello, history, agreement }: Facts): boolean => {
        const again = classify(hello, history, agreement)
        return again.outcome === outcome && again.proof.reason === reason
      }
      const facts = known.find((each) => {
        try {
          return isSame(each!)
        } catch (error) {
          // Logs that part elsewhere would have been asked something else.
          if (error instanceof RangeError) return false
          throw error
        }
      })
      if (facts === undefined) {
        const { hello, history, agreement } = known[0]
        const again = classify(hello, history, agreement)
        return c.fail(
          name,
          `session ${id} of ${event.replicaId}: ${String(outcome)} (${String(reason)}), and the facts say ${again.outcome} (${again.proof.detail})`,
        )
      }
      const orders = [0, 1].map(() => endOf(facts, event.sessionId!.epoch, kinds.get(id)!, dice))
      for (const end of orders) {
        if (end.outcome !== outcome || end.status !== orders[0]!.status)
          c.fail(
            name,
            `session ${id} of ${event.replicaId}: ${String(outcome)}; after the same events in another order ${end.outcome}: ${orders.map(({ status }) => status).join(' and ')}`,
          )
      }
    },
  }
}

/**
 * As they are by the wire and the tree; undefined: a log is not known that far.
 *
 * @param states  whose lineage is the one that both sides state: a log that was trimmed has forgotten where epochs below its tail began
 */
function factsOf(c: Cluster, writer: Writer, { replicaId, fields }: RecoveryEvent, asked: Asked | undefined, states: Writer | undefined): Facts | undefined {
  const reply = asked?.reply
  const theirs = reply === undefined ? undefined : c.tree.at(reply.digest)
  const [headLsn, tailLsn, fragmentFloorLsn, committedLsn] = ['headLsn', 'tailLsn', 'fragmentFloorLsn', 'committedLsn'].map((key) => Number(fields[key])) as [
    number,
    number,
    number,
    number,
  ]
  const own = ancestor(c.places.get(writer.process.machine)!, headLsn)
  if (reply === undefined || theirs?.lsn !== reply.durableLsn || own?.lsn !== headLsn) return undefined
  const storeId = reply.storeId === undefined ? '' : toHex(reply.storeId)
  const hello: Hello = { ...reply, replicaId: replicaId!, storeId, lineage: states === undefined ? lineageOf(theirs) : reply.lineage }
  const lineage = states?.lineage.filter(({ firstLsn }) => firstLsn <= headLsn) ?? lineageOf(own)
  const history: RetainedHistory = { headLsn, tailLsn, fragmentFloorLsn, committedLsn, checkpoint: null, lineage }
  const matchLsn = digestQuestion(hello, history)
  if (matchLsn === null) return { hello, history, agreement: null }
  const isUnknown = asked!.digest?.lsn === matchLsn && asked!.digest.digest === undefined
  if (isUnknown) return { hello, history, agreement: { matchLsn, agrees: undefined } }
  const agrees = ancestor(theirs, matchLsn) === ancestor(own, matchLsn)
  return { hello, history, agreement: agrees || asked!.isSound === undefined ? { matchLsn, agrees } : { matchLsn, agrees, replicaSound: asked!.isSound } }
}

function lineageOf(place: Place): { readonly epoch: number; readonly firstLsn: number }[] {
  const marks: { epoch: number; firstLsn: number }[] = []
  for (let p = place; p.parent !== undefined; p = p.parent) {
    const newest = marks.at(-1)
    if (newest?.epoch === p.epoch) newest.firstLsn = p.lsn
    else marks.push({ epoch: p.epoch, firstLsn: p.lsn })
  }
  return marks.reverse()
}

/** A sender that has an attempt under way; it moves, its epoch is raised, an answer of the attempt comes, in any order; then the handshake. */
function endOf({ hello, history, agreement }: Facts, epoch: number, kind: SessionKind, dice: Dice): { readonly outcome: string; readonly status: string } {
  const clock = { nowMs: () => 0, monoMs: () => 0 }
  const { replicaId: id, storeId } = hello
  const registry = new Registry({ storeId, clock, log: new RecoveryLog({ clock }), sequence: new SessionSequence() }, epoch - 1 || epoch)
  registry.apply({ epoch: registry.epoch, replicas: [{ id, endpoint: { data: 'a', version: 1 }, role: 'voter' }] })
  const sender = registry.sender(id)
  const attempt = sender.attach(registry.epoch, kind)
  const events = [
    () => sender.updateEndpoint({ data: 'b', version: 2 }),
    () => registry.raiseEpoch(epoch),
    () => refused(() => sender.beginConnect(attempt)),
    () => refused(() => sender.recordDurable({ replicaId: id, epoch: attempt.epoch, sessionId: attempt, endpointVersion: 1 }, hello.durableLsn)),
  ]
  while (events.length > 0) events.splice(dice.int(events.length), 1)[0]!()
  const session = sender.session() === null ? sender.attach(epoch, kind) : sender.supersede(kind, 'again')
  sender.beginConnect(session)
  const handshake = sender.recordHandshake(session, hello, history, agreement)
  const { state, reason, durableLsn, committedLsn, session: after } = sender.status()
  const { phase, start, target, truncateTo } = after ?? {}
  return { outcome: handshake.outcome, status: JSON.stringify({ state, reason, durableLsn, committedLsn, phase, start, target, truncateTo }) }
}

/** Whether it may be done depends on the order; that it changes nothing in the end must not. */
function refused(call: () => unknown): void {
  try {
    call()
  } catch (error) {
    if (!textOf(error).startsWith('SessionFencedError')) throw error
  }
}

interface Ack {
  readonly id: ReplicaId
  readonly session: SessionId
  readonly durableLsn: number
}

/** I18, of acknowledgements. */
export function sameAcksSameBoundary(): Checker {
  const name = 'I18 same acknowledgements, same C'
  /** Of each writer, since a sender of it changed. */
  const stretches = new Map<Writer, Ack[]>()
  const dice = new Dice(81)
  const settle = (c: Cluster, writer: Writer): void => {
    const acks = stretches.get(writer) ?? []
    stretches.delete(writer)
    if (acks.length < 2) return
    const head = Number(writer.log!.head)
    const [straight, other] = [acks, shuffled(acks, dice)].map((order) => countOf(order, head, writer.epoch))
    if (straight !== other) c.fail(name, `${acks.length} acknowledgements to ${writer.name} come to ${straight}, in another order of the replicas to ${other}`)
  }
  return {
    name,
    frame(c, machine, way, { epoch, session, message }, link) {
      if (way !== 'taken' || message.type !== 'ack') return
      const writer = c.nodes.get(machine)
      if (writer?.kind !== 'writer' || writer.epoch !== epoch) return
      let acks = stretches.get(writer)
      if (acks === undefined) stretches.set(writer, (acks = []))
      acks.push({ id: link.peer.replace(/:.*/, '') as ReplicaId, session: { epoch, seq: session }, durableLsn: message.durableLsn })
    },
    noted(c, writer, { event }) {
      if (event !== 'commit_advanced') settle(c, writer)
    },
    end(c) {
      for (const writer of c.writers) settle(c, writer)
    },
  }
}

/** Those of one replica stay in their order. */
function shuffled(acks: readonly Ack[], dice: Dice): Ack[] {
  const queues = [...Map.groupBy(acks, ({ id }) => id).values()]
  const order: Ack[] = []
  while (queues.length > 0) {
    const queue = dice.pick(queues)
    order.push(queue.shift()!)
    if (queue.length === 0) queues.splice(queues.indexOf(queue), 1)
  }
  return order
}

/** C by each mode, and who has the newest of them. */
function countOf(acks: readonly Ack[], head: number, epoch: number): string {
  const tracker = new AckTracker({ epoch, firstLsn: 1 })
  const firsts = new Map<ReplicaId, Ack>()
  for (const ack of acks.toSorted((a, b) => a.session.seq - b.session.seq)) if (!firsts.has(ack.id)) firsts.set(ack.id, ack)
  tracker.assign([...firsts.keys()])
  for (const { id, session } of firsts.values()) {
    tracker.follow(id, session, 0)
    tracker.state(id, 'in_sync')
  }
  // The primary's own sync is one more of the independent events.
  acks.forEach(({ id, session, durableLsn }, i) => {
    if (i === acks.length >> 1) tracker.local(head)
    tracker.ack(id, session, durableLsn)
    tracker.committedIn('quorum')
    tracker.committedIn('all')
  })
  return `${tracker.committedIn('quorum')}, ${tracker.committedIn('all')}, ${tracker.durableNodes(head)} nodes`
}
