// I7: what is held back, for whom.

import { sessionText } from '../../../../bindings/ship/index.ts'
import type { Checker } from '../checker.ts'

const OF_SESSION = 'session '
/** Turns in which a stream that was closed may still be on its way out. */
const LATE_EVENTS = 2

/** I7. Pins are those of sessions, streams and holds; none is left behind, and nothing under one is reclaimed. */
export function pinsAreNeeded(): Checker {
  const name = 'I7 pins are those that are needed, and hold'
  /** Sessions whose run has given everything back. */
  const released = new Set<string>()
  /** By writer: events in a row with a pin of nobody. */
  const strays = new Map<object, number>()
  return {
    name,
    noted(_, __, { event, sessionId }) {
      if (event === 'exec_resources_released') released.add(sessionText(sessionId!))
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
            if (!active.has(id) && released.has(id)) stray = `session ${id} is over, has given everything back, and holds the log above ${lsn}`
          }
        }
        const needed = writer.senders.filter(
          ({ replicaId, session, streaming, state }) => session !== null || streaming || state === 'in_sync' || writer.holds(replicaId),
        ).length
        if (streams > 2 * needed) stray = `${streams} pins of streams, and ${needed} replicas that may need one`
        strays.set(writer, stray === undefined ? 0 : (strays.get(writer) ?? 0) + 1)
        if (stray !== undefined && strays.get(writer)! > LATE_EVENTS) c.fail(name, `${writer.name}: ${stray}`)
      }
    },
  }
}
