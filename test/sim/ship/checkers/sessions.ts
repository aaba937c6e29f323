// I8, I9, I10, I14, I15: what a primary thinks of its replicas and their sessions.

import { CATCH_UP_BUDGET, REBUILD_BUDGET, type ReplicaState, sessionText } from '../../../../bindings/ship/index.ts'
import { type Checker, sessionOf } from '../checker.ts'
import type { Machine } from '../machine.ts'
import type { TappedLink } from '../wires.ts'
import type { Writer } from '../writer.ts'

/** A primary. */
interface Followed {
  readonly mandate: number
  readonly epoch: number
}

/**
 * I8. One session or one stream for a replica; no session id twice, over all restarts.
 *
 * Where a fence left no room, a former primary that starts itself may claim the epoch that its successor has (decision 0030): their sessions have one name, and nodes
 * tell them apart by the mandate.
 */
export function oneSession(): Checker {
  const name = 'I8 one session or stream for a replica, ids never repeat'
  const seen = new Set<string>()
  const greeted = new Set<string>()
  return {
    name,
    noted(c, writer, { event, sessionId }) {
      if (event !== 'session_created') return
      const id = sessionText(sessionId!)
      const full = `${id} of mandate ${writer.mandate}`
      if (seen.has(full)) c.fail(name, `${writer.name} begins session ${id}, which there was before`)
      seen.add(full)
    },
    frame(c, machine, way, { epoch, session, message }) {
      if (way !== 'sent' || message.type !== 'hello' || message.kind === 'observe') return
      const full = `${epoch}.${session} of mandate ${message.mandate}`
      if (greeted.has(full)) c.fail(name, `${machine.name} greets with session ${epoch}.${session} a second time`)
      greeted.add(full)
    },
    event(c) {
      for (const writer of c.writers) {
        for (const { replicaId, session, streaming } of writer.senders) {
          if (session !== null && streaming) c.fail(name, `${writer.name} has session ${sessionText(session.id)} and a stream for ${replicaId}`)
        }
      }
    },
  }
}

/** I9. Only a completed session makes a replica in_sync, and what it then has is what that achieved, or more. */
export function inSyncIsEarned(): Checker {
  const name = 'I9 in_sync is earned by a completed session'
  /** By replica, since it came in sync: what was achieved. */
  const completed = new Map<string, number>()
  /** Replicas with a run that has not given back what it holds: complete, it may be waiting for the pin of the stream. */
  const running = new Set<string>()
  const greeted = new WeakMap<TappedLink, Followed>()
  /** By machine: the newest primary that it has answered. It may be cut for that one, and one of before finds out when its link fails. */
  const followed = new Map<Machine, Followed>()
  return {
    name,
    frame(_, machine, way, { epoch, message }, link) {
      if (way === 'taken' && message.type === 'hello' && message.kind !== 'observe' && message.kind !== 'fence' && !greeted.has(link))
        greeted.set(link, { mandate: message.mandate, epoch })
      const hello = way === 'sent' && message.type === 'helloReply' ? greeted.get(link) : undefined
      if (hello === undefined) return
      const newest = followed.get(machine)
      if (newest === undefined || (hello.mandate - newest.mandate || hello.epoch - newest.epoch) > 0) followed.set(machine, hello)
    },
    noted(_, writer, { event, replicaId, fields }) {
      const key = `${writer.name} ${writer.epoch} ${replicaId}`
      if (event === 'exec_catchup_started' || event === 'exec_rebuild_started') running.add(key)
      else if (event === 'exec_resources_released') running.delete(key)
      if (event === 'exec_completed' || event === 'exec_rebuild_completed' || event === 'plan_zero_gap') completed.set(key, Number(fields['achieved'] ?? 0))
    },
    event(c) {
      for (const writer of c.writers) {
        for (const { replicaId, state, durableLsn } of writer.senders) {
          const key = `${writer.name} ${writer.epoch} ${replicaId}`
          if (state !== 'in_sync') {
            completed.delete(key)
            continue
          }
          const achieved = completed.get(key)
          if (achieved === undefined && running.has(key)) continue
          if (achieved === undefined) c.fail(name, `${writer.name} holds ${replicaId} for in_sync, and completed no session of it`)
          else if (durableLsn < achieved) c.fail(name, `${writer.name} holds ${replicaId} for in_sync at ${durableLsn}, and it had achieved ${achieved}`)
          const follower = c.followers.find(({ name: other }) => other === replicaId)
          if (follower?.state !== 'open') continue
          const { machine } = follower.process
          const { mandate, epoch } = followed.get(machine)!
          if (mandate === writer.mandate && epoch === writer.epoch && durableLsn > c.places.get(machine)!.lsn)
            c.fail(name, `${writer.name} holds ${replicaId} for durable up to ${durableLsn}, its log ends at ${c.places.get(machine)!.lsn}`)
        }
      }
    },
  }
}

/** I10. A catch-up's target stays what it was, and nothing is recorded beyond it. */
export function targetIsFrozen(): Checker {
  const name = 'I10 the target is frozen'
  const targets = new Map<string, number>()
  return {
    name,
    frame(c, machine, way, { epoch, session: seq, message }) {
      if (way !== 'sent' || message.type !== 'grant' || message.mode === 'stream') return
      const node = c.nodes.get(machine)
      const session = node?.kind === 'writer' ? node.senders.find(({ session: each }) => each?.id.epoch === epoch && each.id.seq === seq)?.session : undefined
      if (session === null || session === undefined) return
      const target = Math.max(session.target, session.secondTarget ?? 0)
      if (message.target > target) c.fail(name, `session ${sessionText(session.id)} grants up to ${message.target}, beyond its target ${target}`)
    },
    event(c) {
      for (const writer of c.writers) {
        for (const { replicaId, session } of writer.senders) {
          if (session === null || session.phase !== 'catchup') continue
          const id = sessionOf(writer, session.id)
          const target = targets.get(id)
          if (target === undefined) targets.set(id, session.target)
          else if (target !== session.target) c.fail(name, `session ${id} of ${replicaId} had target ${target} and has ${session.target}`)
          if (session.recoveredTo > session.target)
            c.fail(name, `session ${id} of ${replicaId} is at ${session.recoveredTo}, beyond its target ${session.target}`)
        }
      }
    },
  }
}

/** I14. A session makes progress, or ends by its budget. */
export function progressOrEnd(): Checker {
  const name = 'I14 no session outlives its budget'
  /** Of a timer, and of waiting for a turn. */
  const GRACE_MS = 1500
  return {
    name,
    event(c) {
      const now = c.clock.clock.monoMs()
      for (const writer of c.writers) {
        for (const { replicaId, session } of writer.senders) {
          if (session === null || session.startedAt === null) continue
          const { maxDurationMs } = session.budget
          const deadlineMs = session.budget.progressDeadlineMs || (session.kind === 'rebuild' ? REBUILD_BUDGET : CATCH_UP_BUDGET).progressDeadlineMs
          const id = sessionText(session.id)
          if (maxDurationMs > 0 && now - session.startedAt > maxDurationMs + GRACE_MS)
            c.fail(name, `session ${id} of ${replicaId} is active for ${now - session.startedAt} ms`)
          const last = session.lastProgressAt ?? session.startedAt
          if (now - last > deadlineMs + GRACE_MS) c.fail(name, `session ${id} of ${replicaId} has made no progress for ${now - last} ms`)
        }
      }
    },
  }
}

/** I15. A replica that needs a rebuild gets one, one that is halted waits for its operator. */
export function debtsArePaid(): Checker {
  const name = 'I15 needs_rebuild and halted are left by rebuild and clearHalt alone'
  const last = new Map<Writer, Map<string, ReplicaState>>()
  const shippings = new Map<Writer, unknown>()
  const REBUILDING: ReadonlySet<ReplicaState> = new Set(['needs_rebuild', 'connecting', 'rebuilding', 'in_sync', 'halted', 'stopped'])
  /** Rebuilds that were completed. */
  const rebuilt = new Set<string>()
  /** Replicas with a rebuild that has not given back what it holds: complete, it may be waiting for its last hooks. */
  const running = new Set<string>()
  const debts = new Set<string>()
  return {
    name,
    noted(_, writer, { event, replicaId, fields }) {
      const key = `${writer.name} ${writer.epoch} ${replicaId}`
      // A hook that fails behind the completion fails the run, and the rebuild is done.
      if (event === 'exec_rebuild_completed' || (event === 'session_invalidated' && fields['isComplete'] === true && running.has(key))) rebuilt.add(key)
      if (event === 'exec_rebuild_started') running.add(key)
      else if (event === 'exec_resources_released') running.delete(key)
      if (event !== 'sender_removed' || replicaId === null) return
      // One that is assigned again is a new sender, which owes nothing: the next hello finds what is so.
      last.get(writer)?.delete(replicaId)
      debts.delete(key)
      rebuilt.delete(key)
    },
    event(c) {
      for (const writer of c.writers) {
        let states = last.get(writer)
        // Another ship() finds by itself what is so, as another open does.
        if (states === undefined || shippings.get(writer) !== writer.shipping) {
          for (const id of states?.keys() ?? []) debts.delete(`${writer.name} ${writer.epoch} ${id}`)
          last.set(writer, (states = new Map()))
          shippings.set(writer, writer.shipping)
        }
        for (const { replicaId, state, session } of writer.senders) {
          const before = states.get(replicaId)
          states.set(replicaId, state)
          const key = `${writer.name} ${writer.epoch} ${replicaId}`
          if (before === 'halted' && state !== 'halted' && state !== 'stopped') c.fail(name, `${replicaId} was halted and is ${state}`)
          if (state === 'needs_rebuild' && before !== 'needs_rebuild') {
            debts.add(key)
            rebuilt.delete(key)
          }
          if (!debts.has(key)) continue
          if (rebuilt.has(key)) debts.delete(key)
          else if (!REBUILDING.has(state)) c.fail(name, `${replicaId} needs a rebuild and is ${state}`)
          else if (session !== null && session.kind !== 'rebuild') c.fail(name, `${replicaId} needs a rebuild and gets a session of kind ${session.kind}`)
          else if (state === 'in_sync' && !running.has(key)) c.fail(name, `${replicaId} needs a rebuild and is in_sync without one`)
        }
      }
    },
  }
}
