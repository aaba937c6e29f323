// I1 of single writes: an acknowledgement means so many durable logs, by the mode and by what the write asked for, also where it answers a retry.

import type { AckMode } from '../../../../bindings/format/index.ts'
import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { isBefore, type Place, type Write } from '../history.ts'
import type { Machine } from '../machine.ts'
import { strongest } from '../modes.ts'
import type { Writer } from '../writer.ts'

/** What was acknowledged for more than the primary. */
interface Kept {
  readonly at: Place
  readonly level: AckMode
  /** N, of which so many hold it. */
  readonly nodes: ReadonlySet<Machine>
  /** Promotions before its writer. */
  readonly reign: number
}

/** I1. What is acknowledged is durable on as many nodes as the mode and the write ask for, and in the log of every later writer whose promotion went by enough of them. */
export function askedIsBorneOut(): Checker {
  const name = 'I1 an acknowledgement is borne out by durable logs'
  const fresh: { readonly write: Write; readonly writer: Writer }[] = []
  let kept: readonly Kept[] = []
  const keep = (c: Cluster, promise: Kept): void => {
    const { at, level, reign } = promise
    // Decided on since, while this one went on.
    if (c.promotions.length > reign) {
      if (isOwed(c, promise, c.promotions.length) && c.writer?.state === 'open' && !isBefore(at, c.places.get(c.primary)!))
        c.fail(name, `LSN ${at.lsn} with write ${at.writeId} was acknowledged as ${level} of epoch ${at.epoch}, and ${c.primary.name} writes without it`)
      return
    }
    kept = [...kept.filter((each) => each.level !== level || each.reign !== reign || !isBefore(each.at, at)), promise]
  }
  const settle = (c: Cluster, write: Write, writer: Writer): void => {
    const { machine } = writer.process
    const lsn = write.lsn!
    // Behind a promotion with a loss two may write for a while, and the newer one takes what the older one had acknowledged.
    if (machine !== c.primary && c.promotions.slice(writer.reign).some(({ mayLose }) => mayLose)) return
    let best = `nobody holds LSN ${lsn} with it`
    for (const at of c.tree.placesOf(write, lsn)) {
      const { mode } = at.parent!
      const level = strongest([mode, write.ack ?? mode])
      if (level === 'async') return
      for (const voters of c.electorate.ever.toReversed()) {
        const nodes = new Set([machine, ...voters])
        const holding = [...nodes].filter((each) => isBefore(at, c.places.get(each)!))
        const needed = level === 'all' ? nodes.size : Math.floor(nodes.size / 2) + 1
        if (holding.length >= needed) return keep(c, { at, level, nodes, reign: writer.reign })
        best = `as ${level} ${holding.length} of ${nodes.size} hold LSN ${lsn} (${holding.map((each) => each.name).join()}), ${needed} are needed`
      }
    }
    c.fail(name, `${writer.name} acknowledged write ${write.id}: ${best}`)
  }
  return {
    name,
    acknowledged: (_, write, writer) => void fresh.push({ write, writer }),
    opened(c, writer, place) {
      const { reign } = writer
      kept = kept.filter((promise) => promise.reign > reign || isOwed(c, promise, reign))
      for (const { at, level, reign: since } of kept) {
        if (since <= reign && !isBefore(at, place))
          c.fail(name, `${writer.name} writes on behind LSN ${place.lsn}, and LSN ${at.lsn} with write ${at.writeId} was acknowledged as ${level}`)
      }
    },
    event(c) {
      for (const { write, writer } of fresh.splice(0)) settle(c, write, writer)
    },
  }
}

/** Whether each promotion since went by so many of the nodes that one of them has it. */
function isOwed(c: Cluster, { nodes, level, reign }: Kept, until: number): boolean {
  const needed = level === 'all' ? 1 : nodes.size - Math.floor(nodes.size / 2)
  return c.promotions.slice(reign, until).every(({ heard }) => [...nodes].filter((node) => heard.has(node)).length >= needed)
}
