// I4 by hash: the folded state of a node is what its records make, from the first one on.
//
// The records are those of the tree of histories. They are folded here once more, into a state that no node has, without files and without checkpoints; what a node
// has, from whichever checkpoint or base it came, must have the same bytes in a checkpoint (a checkpoint's bytes depend on the log alone).

import { Catalog, checkpointBody } from '../../../../bindings/catalog/index.ts'
import { decodeRecord, StoreState } from '../../../../bindings/engine/index.ts'
import { sha256 } from '../../../../bindings/kernels/index.ts'
import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import type { Follower } from '../follower.ts'
import { ancestor, hex, isBefore, type Place } from '../history.ts'
import type { Writer } from '../writer.ts'

/** Histories whose fold is kept, to go on from: followers stay behind, and histories part. */
const KEPT = 12
/** Events between two looks at a node whose log goes on as usual. */
const SAMPLE = 50

interface Folded {
  readonly state: StoreState
  place: Place
}

/** I4. After each install, truncation and restart, and now and then. */
export function stateIsTheFold(): Checker {
  const name = 'I4 the state is the fold of the log'
  /** Nodes whose log was replaced, cut, or opened: they are looked at as soon as their state is there. */
  const owed = new Set<Writer | Follower>()
  const kept: Folded[] = []
  /** By what was folded here before: several nodes come to one place. */
  const digests = new WeakMap<Place, string>()
  let events = 0

  /** The state at that place, folded here. */
  const foldTo = (place: Place, { context }: StoreState): StoreState => {
    let from = kept.filter((each) => isBefore(each.place, place)).toSorted((a, b) => b.place.lsn - a.place.lsn)[0]
    if (from === undefined) {
      from = { state: StoreState.ofCatalog(context, new Catalog()), place: ancestor(place, 0)! }
      if (kept.length === KEPT) kept.pop()
    } else kept.splice(kept.indexOf(from), 1)
    kept.unshift(from)
    const records: Place[] = []
    for (let p = place; p !== from.place; p = p.parent!) records.push(p)
    for (const { lsn, frame } of records.reverse()) from.state.fold(lsn, from.state.resolve(lsn, decodeRecord(frame, 0, lsn)))
    from.place = place
    return from.state
  }

  /** @returns whether it could be looked at */
  const look = (c: Cluster, node: Writer | Follower): boolean => {
    const state = node.state === 'open' ? node.folded : undefined
    const place = state === undefined ? undefined : ancestor(c.places.get(node.process.machine)!, state.applied)
    // Folded further than the log was seen to go: the next look sees both.
    if (state === undefined || place?.lsn !== state.applied) return false
    const held = digestOf(state)
    let wanted = digests.get(place)
    if (wanted === undefined) digests.set(place, (wanted = digestOf(foldTo(place, state))))
    if (held !== wanted) c.fail(name, `${node.name} has folded LSN ${place.lsn} to ${held.slice(0, 16)}, its records make ${wanted.slice(0, 16)}`)
    return true
  }

  return {
    name,
    moved(c, machine, _, move) {
      const node = c.nodes.get(machine)
      if (move !== 'advance' && node !== undefined) owed.add(node)
    },
    event(c) {
      for (const node of owed) if (c.nodes.get(node.process.machine) !== node || look(c, node)) owed.delete(node)
      if (++events % SAMPLE !== 0) return
      const nodes = [...c.nodes.values()]
      if (nodes.length > 0) look(c, nodes[(events / SAMPLE) % nodes.length]!)
    },
    end(c) {
      // Who is halted may be waiting for what its state is made of.
      const arrived = new Set<string>([
        c.primary.name,
        ...(c.writer?.senders ?? []).filter(({ state }) => state === 'in_sync').map(({ replicaId }) => replicaId),
      ])
      for (const node of c.nodes.values()) if (!look(c, node) && arrived.has(node.name)) c.fail(name, `${node.name} has no state of its log in the end`)
    },
  }
}

function digestOf({ catalog }: StoreState): string {
  return hex(sha256(checkpointBody(catalog)))
}
