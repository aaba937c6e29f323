// I13: what a RecoveryLog says of each session.

import type { RecoveryEventName } from '../../../../bindings/ship/index.ts'
import { type Checker, sessionOf } from '../checker.ts'

/** What ends a session. */
export const TERMINAL: ReadonlySet<RecoveryEventName> = new Set<RecoveryEventName>([
  'plan_zero_gap',
  'exec_completed',
  'exec_rebuild_completed',
  'session_invalidated',
  'session_superseded',
  'session_failed',
])

/** I13. Every session ends once, and what it held is given back once. */
export function endsOnce(): Checker {
  const name = 'I13 one terminal event and one release for a session'
  const ended = new Map<string, RecoveryEventName>()
  const started = new Set<string>()
  const released = new Set<string>()
  return {
    name,
    noted(c, writer, { event, sessionId }) {
      if (sessionId === null) return
      const id = sessionOf(writer, sessionId)
      if (TERMINAL.has(event)) {
        const before = ended.get(id)
        if (before !== undefined) c.fail(name, `session ${id} ends with ${before} and with ${event}`)
        ended.set(id, event)
      } else if (event === 'exec_catchup_started' || event === 'exec_rebuild_started') started.add(id)
      else if (event === 'exec_resources_released') {
        if (released.has(id)) c.fail(name, `what session ${id} held is released twice`)
        released.add(id)
      }
    },
    end(c) {
      // Of the writer that is left: those of dead processes end with them.
      const { writer } = c
      if (writer === undefined) return
      const active = new Set(writer.senders.flatMap(({ session }) => (session === null ? [] : [sessionOf(writer, session.id)])))
      for (const id of started) {
        if (!id.startsWith(`${writer.name} ${writer.epoch}.`) || active.has(id)) continue
        if (!ended.has(id)) c.fail(name, `session ${id} is over and never ended`)
        if (!released.has(id)) c.fail(name, `what session ${id} held was never released`)
      }
    },
  }
}
