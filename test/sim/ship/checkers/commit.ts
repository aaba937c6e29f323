// I2, I5 and I11: what is called committed.

import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { ancestor, isBefore, type Place } from '../history.ts'
import type { Machine } from '../machine.ts'
import type { Writer } from '../writer.ts'
import { GivenUp } from './given-up.ts'

/** I2. C never goes back on a node, and no node tells one that the durable logs of the mode's nodes do not bear out. */
export function committedIsBorneOut(): Checker {
  const name = 'I2 C is monotone and borne out by durable logs'
  const last = new Map<object, number>()
  /** Highest C that was borne out. */
  let proven = 0
  const look = (c: Cluster, writer: Writer): void => {
    if (writer.store === undefined) return
    // What it has counted, its next open tells, also where this one folds nothing more.
    const told = writer.counted
    const before = last.get(writer)
    if (before !== undefined && told < before) return c.fail(name, `${writer.name} told C = ${before} and tells ${told}`)
    last.set(writer, told)
    if (told <= proven || told === before) return
    const missing = lacks(c, writer, proven, told)
    if (missing !== undefined) return c.fail(name, `${writer.name} tells C = ${told}: ${missing}`)
    proven = told
  }
  return {
    name,
    stopped(c, machine) {
      const node = c.nodes.get(machine)
      if (node?.kind === 'writer') look(c, node)
    },
    event(c) {
      // The older one first: what it came to in this very event may be what its successor was told.
      for (const writer of c.writers.toSorted((a, b) => a.epoch - b.epoch)) look(c, writer)
      for (const follower of c.followers) {
        if (follower.state !== 'open') continue
        const told = follower.committed
        const before = last.get(follower)
        if (before !== undefined && told < before) return c.fail(name, `${follower.name} was told C = ${before} and tells ${told}`)
        last.set(follower, told)
        if (told > proven) return c.fail(name, `${follower.name} tells C = ${told}, and ${proven} is what a writer could tell`)
      }
    },
  }
}

/** What is missing for C to go up to `lsn`. */
function lacks(c: Cluster, writer: Writer, from: number, lsn: number): string | undefined {
  const head = c.places.get(writer.process.machine)!
  const place = ancestor(head, lsn)
  if (place?.lsn !== lsn) return `its own log ends at ${head.lsn}`
  // What changes the mode is committed by the mode before it.
  for (let at = place; at.lsn > from; at = at.parent!) {
    const missing = at === place || at.mode !== at.parent!.mode ? lacksAt(c, writer, head, at) : undefined
    if (missing !== undefined) return missing
  }
  return undefined
}

function lacksAt(c: Cluster, { process: { machine }, epoch }: Writer, head: Place, at: Place): string | undefined {
  const { mode } = at.parent!
  if (mode === 'async') return undefined
  // Together with it: a change of the mode may stand between the two.
  let place = at
  if (at.epoch !== epoch && head.epoch === epoch) for (let own = head; own.epoch === epoch; own = own.parent!) place = own
  if (place.epoch !== epoch) return `LSN ${at.lsn} is of epoch ${at.epoch}, and this writer is at ${epoch}: nothing of an older epoch is committed by itself`
  // While the voters change, the old ones may still be who counts.
  const answers = c.electorate.counting.map((voters) => {
    const nodes = new Set([machine, ...voters])
    const holding = [...nodes].filter((each) => isBefore(place, c.places.get(each)!))
    const needed = mode === 'all' ? nodes.size : Math.floor(nodes.size / 2) + 1
    return holding.length >= needed
      ? undefined
      : `mode ${mode}, ${holding.length} of ${nodes.size} hold LSN ${place.lsn} (${holding.map(({ name }) => name).join()}), ${needed} are needed`
  })
  return answers.includes(undefined) ? undefined : answers.at(-1)
}

/** I5. Any two nodes have the same records as far as both were told that they are committed. */
export function committedPrefixIsOne(): Checker {
  const name = 'I5 committed prefixes are equal'
  /** The furthest committed place of any node; that of every other one lies on the way to it. */
  let tip: Place | undefined
  const checked = new Map<object, number>()
  const givenUp = new GivenUp()
  return {
    name,
    opened(c, writer, place) {
      givenUp.opened(c, writer, place)
      if (tip !== undefined) tip = givenUp.kept(tip)
    },
    event(c) {
      for (const node of c.nodes.values()) {
        if (node.state !== 'open') continue
        const place = c.places.get(node.process.machine)!
        const lsn = Math.min(node.committed, place.lsn)
        if (checked.get(node) === lsn) continue
        checked.set(node, lsn)
        const at = ancestor(place, lsn)!
        // What an asynchronous primary alone had is gone with it, whatever it was told.
        if (givenUp.has(at)) continue
        if (tip === undefined || isBefore(tip, at)) tip = at
        else if (!isBefore(at, tip)) c.fail(name, `${node.name} was told that LSN ${lsn} is committed, and it parts there from what others were told`)
      }
    },
    moved(_, machine) {
      for (const node of checked.keys()) if ((node as { process: { machine: Machine } }).process.machine === machine) checked.delete(node)
    },
  }
}

/** I11. Nothing that a replica was told is committed is cut off, or replaced by less. */
export function committedIsNeverCut(): Checker {
  const name = 'I11 no truncation or install below RC'
  /** RC of each machine when it was looked at last. */
  const last = new Map<Machine, number>()
  const givenUp = new GivenUp()
  return {
    name,
    opened(c, writer, place) {
      givenUp.opened(c, writer, place)
      const { machine } = writer.process
      const told = last.get(machine) ?? 0
      const { lsn } = foundBy(writer, place)
      if (told <= lsn) return
      // With the loss that was accepted goes the promise: its own records take those LSNs, and nobody was told that they are committed.
      if (c.promotions[writer.reign - 1]?.mayLose === true || writer.modes.has('async')) last.set(machine, lsn)
      else c.fail(name, `${machine.name} was told that LSN ${told} is committed, and opens for writing with a log that ends at LSN ${lsn}`)
    },
    event(c) {
      for (const follower of c.followers) if (follower.state === 'open') last.set(follower.process.machine, follower.committed)
    },
    moved(c, machine, place, move, before) {
      const node = c.nodes.get(machine)
      if (node?.kind !== 'follower' || move === 'advance') return
      const told = Math.min(last.get(machine) ?? 0, before.lsn)
      const held = ancestor(before, told)!
      // Another history may take the place of one that was given up, and never a shorter one than was promised; of which a process that is started knows what NODE has,
      // where RC comes some time after it was told.
      if (givenUp.has(held) ? move !== 'restart' && place.lsn < told : !isBefore(held, place))
        c.fail(name, `${machine.name} held LSN ${told} as committed, and after its ${move} its log ends at LSN ${place.lsn} without it`)
    },
  }
}

/** Where the log ended that a writer opened: what it has written by itself since stands behind. */
function foundBy({ epoch }: Writer, place: Place): Place {
  let at = place
  while (at.epoch === epoch) at = at.parent!
  return at
}
