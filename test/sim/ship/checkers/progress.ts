// I3 and I7 on the primary's side: a session gets on by its own frames alone, and is over before what it holds goes.

import { SessionFencedError } from '../../../../bindings/errors-ship.ts'
import { type RecoveryEventName, type SenderStatus, type SessionId, sessionText, type WireFrame } from '../../../../bindings/ship/index.ts'
import { type Checker, sessionOf } from '../checker.ts'
import { textOf } from '../writer.ts'

type Session = NonNullable<SenderStatus['session']>

/** I3. What a sender has recorded of a session was confirmed to it in that session. */
export function progressIsItsOwn(): Checker {
  const name = 'I3 a session gets on by what was confirmed in it'
  /** By session, as its frames say it. */
  const confirmed = new Map<string, number>()
  return {
    name,
    frame(_, machine, way, { epoch, session, message }) {
      if (way === 'taken') raise(confirmed, sessionOf(machine, { epoch, seq: session }), confirmedBy(message))
    },
    event(c) {
      for (const writer of c.writers) {
        for (const { replicaId, session } of writer.senders) {
          if (session === null) continue
          const id = sessionOf(writer, session.id)
          const recorded = recordedIn(session)
          const most = confirmed.get(id) ?? 0
          if (recorded > most) c.fail(name, `session ${id} of ${replicaId} has recorded LSN ${recorded}, and no more than ${most} was confirmed in it`)
        }
      }
    },
  }
}

/**
 * I3. An answer that comes when its session is over changes nothing.
 *
 * The sender is told what a call of an ended session would have come to, had its answer been slower than the end: that what it had sent is durable there. It is
 * told in the next session of that replica, while that one replays, as by a run that has not heard of its end.
 */
export function lateAnswersAreRefused(): Checker {
  const name = 'I3 an answer of a session that is over changes nothing'
  const sent = new Map<string, number>()
  const confirmed = new Map<string, number>()
  /** By writer and replica: sessions that ended with a call out, and what its answer says. */
  const late = new Map<string, { readonly id: SessionId; readonly lsn: number }>()
  const answered = new Set<string>()
  return {
    name,
    frame(_, machine, way, { epoch, session, message }) {
      const id = sessionOf(machine, { epoch, seq: session })
      if (way === 'taken') raise(confirmed, id, confirmedBy(message))
      else if (message.type === 'entries' && !message.base) raise(sent, id, message.first + message.count - 1)
    },
    noted(_, writer, { event, sessionId, replicaId }) {
      if (!ENDS.has(event) || sessionId === null) return
      const id = sessionOf(writer, sessionId)
      const lsn = sent.get(id) ?? 0
      if (lsn > (confirmed.get(id) ?? 0)) late.set(`${writer.name} ${writer.epoch} ${replicaId}`, { id: sessionId, lsn })
    },
    event(c) {
      for (const writer of c.writers) {
        for (const { replicaId, session } of writer.senders) {
          if (session === null || session.phase !== 'catchup' || answered.has(sessionOf(writer, session.id))) continue
          const answer = late.get(`${writer.name} ${writer.epoch} ${replicaId}`)
          if (answer === undefined) continue
          answered.add(sessionOf(writer, session.id))
          try {
            writer.shipping!.registry.sender(replicaId).recordProgress(answer.id, answer.lsn)
            c.fail(name, `session ${sessionText(answer.id)} of ${replicaId} is over, and what it says is taken in session ${sessionText(session.id)}`)
          } catch (error) {
            if (!(error instanceof SessionFencedError))
              c.fail(name, `session ${sessionText(answer.id)} of ${replicaId} is over, and is answered ${textOf(error)}`)
          }
        }
      }
    },
  }
}

/** I9. A live stream goes on where its session ended: what it begins behind was said or confirmed in that session. */
export function streamGoesOn(): Checker {
  const name = 'I9 a stream goes on where its session ended'
  const confirmed = new Map<string, number>()
  return {
    name,
    frame(c, machine, way, { epoch, session, message }) {
      const id = sessionOf(machine, { epoch, seq: session })
      if (way === 'taken') raise(confirmed, id, message.type === 'helloReply' ? message.durableLsn : confirmedBy(message))
      else if (message.type === 'grant' && message.mode === 'stream' && message.start > (confirmed.get(id) ?? 0))
        c.fail(name, `the stream of session ${id} begins behind LSN ${message.start}, and ${confirmed.get(id) ?? 0} is what was achieved`)
    },
  }
}

const ENDS: ReadonlySet<RecoveryEventName> = new Set<RecoveryEventName>(['session_invalidated', 'session_superseded', 'session_failed'])
const PLANNED: ReadonlySet<RecoveryEventName> = new Set<RecoveryEventName>(['plan_catchup', 'plan_rebuild_snapshot_tail', 'plan_rebuild_full_base'])

/** I7. A session that has not been completed is over before what it holds is let go. */
export function endsBeforeItLetsGo(): Checker {
  const name = 'I7 a session is over before its pins go'
  const holding = new Set<string>()
  return {
    name,
    told(c, writer, { event, sessionId, replicaId, fields }) {
      if (sessionId === null) return
      const id = sessionText(sessionId)
      const full = sessionOf(writer, sessionId)
      if (PLANNED.has(event)) holding.add(full)
      // Over since it was complete: its run failed behind that, at the latest with the pins given back.
      else if (fields['isComplete'] === true) holding.delete(full)
      else if (ENDS.has(event) && holding.delete(full) && !writer.pins.some(({ owner }) => owner === `session ${id}`)) {
        c.fail(name, `session ${id} of ${replicaId} ends (${event}), and what it held has gone before: a reclaim could have run meanwhile`)
      }
    },
  }
}

/** What it has done since it began; 0: nothing. */
function recordedIn({ kind, recoveredTo, start, transferredTo, replayedTo }: Session): number {
  if (kind === 'rebuild') return Math.max(transferredTo, replayedTo)
  return recoveredTo > start ? recoveredTo : 0
}

/** What a replica says it has. */
function confirmedBy(message: WireFrame['message']): number | undefined {
  if (message.type === 'ack' || message.type === 'grantAck') return message.durableLsn
  if (message.type === 'truncated') return message.lsn
  return message.type === 'installed' ? message.baseLsn : undefined
}

function raise(of: Map<string, number>, id: string, lsn: number | undefined): void {
  if (lsn !== undefined && lsn > (of.get(id) ?? 0)) of.set(id, lsn)
}
