// I3 and I6: who may change a replica's log, and by which records.

import { decodeManifest, mandateOfClaim } from '../../../../bindings/format/index.ts'
import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { ancestor, isBefore, type Place } from '../history.ts'
import type { Machine } from '../machine.ts'
import type { TappedLink } from '../wires.ts'
import { textOf } from '../writer.ts'
import { Written } from '../written.ts'

interface Fenced {
  mandate: number
  epoch: number
  session: number
  /** What frames of the newest session may have taken the log to. */
  mayReach: number
  /** LSN of the base that frames of it have brought, and that takes its place with the install. */
  base: number
}

/** I3. A replica's log grows, is cut or replaced by the newest session alone that it has accepted. */
export function onlyTheNewestChanges(): Checker {
  const name = 'I3 nothing changes by a message of an older fence'
  const newest = new Map<Machine, Fenced>()
  /** Machines whose last process wrote: what it wrote last was not seen if it died at once. */
  const wrote = new Set<Machine>()
  /** Where disks fail: what each replica took of its newest session of then, on top of what its log was seen to hold. */
  const given = new Map<Machine, Written>()
  /** Machines whose last process failed by its disk: it said nothing of what it had written and could not sync, and its log may hold that. */
  const failed = new Set<Machine>()
  const greeted = new WeakMap<TappedLink, { mandate: number; epoch: number; session: number; seen: number }>()
  const of = (machine: Machine): Fenced => {
    let fenced = newest.get(machine)
    if (fenced === undefined) newest.set(machine, (fenced = { mandate: 0, epoch: 0, session: 0, mayReach: 0, base: 0 }))
    return fenced
  }
  const isNewest = (machine: Machine, frame: { readonly epoch: number; readonly session: number }): boolean => {
    const { epoch, session } = of(machine)
    return frame.epoch === epoch && frame.session === session
  }
  const givenTo = (c: Cluster, machine: Machine): Written => {
    let written = given.get(machine)
    if (written === undefined) given.set(machine, (written = new Written(c.places.get(machine)!)))
    return written
  }
  const isGiven = (c: Cluster, machine: Machine, place: Place): boolean => {
    try {
      const end = given.get(machine)?.enter(c.tree)
      return end !== undefined && isBefore(place, end)
    } catch (error) {
      c.fail(name, `what ${machine.name} was sent: ${textOf(error)}`)
      return false
    }
  }
  return {
    name,
    frame(c, machine, way, frame, link) {
      if (c.nodes.get(machine)?.kind !== 'follower') return
      const { epoch, session, message } = frame
      const fenced = of(machine)
      if (way === 'taken') {
        if (message.type === 'hello' && message.kind !== 'observe') {
          // A frame that came twice, on a connection of later, is not that one's greeting.
          if (!greeted.has(link))
            greeted.set(link, { mandate: message.kind === 'fence' ? mandateOfClaim(epoch) : message.mandate, epoch, session, seen: fenced.epoch })
        } else if (message.type === 'entries' && !message.base && isNewest(machine, frame)) {
          fenced.mayReach = Math.max(fenced.mayReach, message.first + message.count - 1)
          if (c.profile.weights.fault > 0) givenTo(c, machine).sent(message)
        } else if (message.type === 'truncate' && isNewest(machine, frame)) given.set(machine, new Written(ancestor(c.places.get(machine)!, message.lsn)!))
        else if (message.type === 'manifest' && isNewest(machine, frame)) fenced.base = decodeManifest(message.bytes).baseLsn
        // From here on it may take its place at any moment; a newer fence waits for that, and nobody may be told any more.
        else if (message.type === 'install' && isNewest(machine, frame)) fenced.mayReach = Math.max(fenced.mayReach, fenced.base)
        return
      }
      if (message.type === 'helloReply') {
        const hello = greeted.get(link)
        // Of kind observe.
        if (hello === undefined) return
        const { mandate } = hello
        const order = mandate - fenced.mandate || hello.epoch - fenced.epoch || hello.session - fenced.session
        if (order > 0) {
          newest.set(machine, { mandate, epoch: hello.epoch, session: hello.session, mayReach: message.durableLsn, base: 0 })
        } else if (message.epochSeen < hello.seen) c.fail(name, `${machine.name} has seen epoch ${hello.seen} and says ${message.epochSeen}`)
      } else if (message.type === 'installed' && isNewest(machine, frame)) {
        fenced.mayReach = message.baseLsn
      } else if ((message.type === 'truncated' || message.type === 'installed' || message.type === 'ack') && !isNewest(machine, frame)) {
        if (message.type !== 'ack') c.fail(name, `${machine.name} answers ${message.type} on a link that is no longer the newest`)
      }
    },
    stopped(c, machine) {
      const node = c.nodes.get(machine)
      if (node?.kind === 'writer') wrote.add(machine)
      else if (node?.hasFailed === true) failed.add(machine)
    },
    moved(c, machine, place, move, before) {
      const hadFailed = move === 'restart' && failed.delete(machine)
      if (c.nodes.get(machine)?.kind !== 'follower') return void given.delete(machine)
      const fenced = of(machine)
      if (wrote.delete(machine)) fenced.mayReach = Math.max(fenced.mayReach, place.lsn)
      else if (place.lsn > before.lsn && place.lsn > fenced.mayReach && !(hadFailed && isGiven(c, machine, place))) {
        c.fail(
          name,
          `${machine.name} goes from LSN ${before.lsn} to ${place.lsn}, and its newest session ${fenced.epoch}.${fenced.session} has sent nothing above ${fenced.mayReach}`,
        )
      }
      if (move === 'advance') given.get(machine)?.durable(place)
      else given.delete(machine)
    },
  }
}

/** I6. A session sends what it sends in ascending order, each record once. (That logs are dense, and a replica's one of a writer, says the history tree.) */
export function everyRecordOnce(): Checker {
  const name = 'I6 a session sends each LSN once, ascending'
  const sent = new WeakMap<TappedLink, number>()
  return {
    name,
    frame(c, machine, way, { epoch, session, message }, link) {
      if (way !== 'sent' || message.type !== 'entries' || message.base) return
      const last = sent.get(link)
      if (last !== undefined && message.first !== last + 1) {
        c.fail(name, `${machine.name} sends LSN ${message.first} behind ${last} in session ${epoch}.${session}`)
      }
      sent.set(link, message.first + message.count - 1)
    },
  }
}
