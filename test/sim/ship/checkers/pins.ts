// I7: what is held back, for whom.

import { sessionText } from '../../../../bindings/ship/index.ts'
import type { Checker } from '../checker.ts'

const OF_SESSION = 'session '
/** Turns in which a stream that was closed may still be on its way out. */
const LATE_EVENTS = 2
/** And until a read comes back that it has under way on a slow disk. */
const LATE_MS = 300

/** I7. Pins are those of sessions, streams and holds; none is left behind, and nothing under one is reclaimed. */
export function pinsAreNeeded(): Checker {
  const name = 'I7 pins are those that are needed, and hold'
  /** Sessions whose run has given everything back. */
  const released = new Set<string>()
  /** By writer: events in a row with a pin of nobody, and when the first of them was. */
  const strays = new Map<object, { events: number; readonly sinceMs: number }>()
  return {
    name,
    noted(_, writer, { event, sessionId }) {
      if (event === 'exec_resources_released') released.add(`${writer.name} ${sessionText(sessionId!)}`)
    },
    event(c) {
      for (const writer of c.writers) {
        if (writer.state !== 'open' || writer.shipping === undefined) continue
        const tail = Number(writer.log!.tail)
        const active = new Set(writer.senders.flatMap(({ session }) => (session === null ? [] : [sessionText(session.id)])))
        let streams = 0
        let stray: string | undefined
        for (const { lsn, owner } of writer.pins) {
          const isSession = owner.startsWith(OF_SESSION)
          if (!isSession && owner !== 'stream' && owner !== 'hold') continue
          if (lsn < tail) c.fail(name, `${writer.name}: ${owner} holds the log above ${lsn}, which begins behind ${tail}`)
          if (!isSession) streams++
          else {
            const id = owner.slice(OF_SESSION.length)
            if (!active.has(id) && released.has(`${writer.name} ${id}`))
              stray = `session ${id} is over, has given everything back, and holds the log above ${lsn}`
          }
        }
        const needed = writer.senders.filter(
          ({ replicaId, session, streaming, state }) => session !== null || streaming || state === 'in_sync' || writer.holds(replicaId),
        ).length
        const isLeaving = stray === undefined && streams > 2 * needed
        if (isLeaving) stray = `${streams} pins of streams, and ${needed} replicas that may need one`
        if (stray === undefined || writer.assigning > 0) {
          strays.delete(writer)
          continue
        }
        const nowMs = c.clock.clock.monoMs()
        const { events, sinceMs } = strays.get(writer) ?? { events: 0, sinceMs: nowMs }
        strays.set(writer, { events: events + 1, sinceMs })
        if (events >= LATE_EVENTS && (!isLeaving || nowMs - sinceMs > LATE_MS)) c.fail(name, `${writer.name}: ${stray}`)
      }
    },
    end(c) {
      if (c.writer !== undefined && c.writer.assigning > 0) c.fail(name, `${c.writer.name}: an assignment waits for somebody who was removed`)
    },
  }
}
