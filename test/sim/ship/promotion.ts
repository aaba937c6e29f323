// What the service around a cluster does when it wants another writer: asks the nodes, lets candidates() decide, promotes.
//
// Whoever is asked is fenced first, so that it does not confirm to the old primary what it has not told. The old one may live, and find out. It must not be
// started again meanwhile: it would claim an epoch of its own.

import { candidates, type NodeRecord } from '../../../bindings/ship/index.ts'
import type { Cluster } from './cluster.ts'
import { STORE_OPTIONS, textOf, Writer } from './writer.ts'

const ASKED_MS = 400
/** Epochs that a service leaves free: a primary that is started again takes the next one by itself, however often. */
const ROOM = 3

/** Begins one, unless one is under way. */
export function promote(c: Cluster): void {
  if (c.isPromoting) return
  const old = c.writer
  // One that starts now would claim an epoch that nobody knows yet.
  if (old?.state === 'opening') c.stop(c.primary, 'kill')
  else if (old !== undefined && c.dice.once(2)) c.stop(c.primary, 'kill')
  const asked = c.followers.filter((each) => each.state === 'open' && each.log !== undefined)
  const epoch = (c.epoch += ROOM)
  c.isPromoting = true
  c.trace.say(`${asked.map(({ name }) => name).join()} are fenced at epoch ${epoch}`)
  const records: NodeRecord[] = []
  const answers = asked.map(async (follower) => {
    const record = await follower.replica!.fence({ epoch, role: c.roles.get(follower.process.machine)! })
    if (follower.process.isAlive) records.push(record)
  })
  const isOver = new Promise<void>((resolve) => c.clock.timers.set(ASKED_MS, resolve))
  Promise.race([Promise.allSettled(answers), isOver])
    .then(() => decide(c, records, epoch))
    .catch((error: unknown) => c.fail('unexpected', textOf(error)))
}

function decide(c: Cluster, records: readonly NodeRecord[], epoch: number): void {
  c.isPromoting = false
  const nodes = c.voters.length + (c.roles.get(c.primary) === 'voter' ? 0 : 1)
  const { storeId } = records[0] ?? { storeId: '' }
  const known = records.map((record) => ({ ...record, state: c.stateOf(record.id) }))
  const { candidates: found, mayLose, detail } = (c.seams.candidates ?? candidates)(known, c.mode, nodes, { storeId, epoch })
  const winner = c.followers.find(({ name, state }) => name === found[0]?.id && state === 'open')
  // What knows nothing of the mode is from before the cluster was founded.
  if (winner === undefined || winner.mode !== c.mode) return c.trace.say(`nobody can be promoted: ${detail}`)
  c.trace.say(`${winner.name} is promoted: ${detail}`)
  if (mayLose) c.losses++
  const { machine } = winner.process
  const writer = new Writer(c, winner.process)
  c.primary = machine
  c.unpromoted = false
  c.nodes.set(machine, writer)
  winner.replica!.promote({ epoch, open: STORE_OPTIONS, ...(mayLose ? { acceptLossAbove: winner.log!.durableLsn } : {}) }).then(
    (store) => writer.start(store),
    (error: unknown) => {
      c.trace.say(`${winner.name} was not promoted: ${textOf(error)}`)
      writer.state = 'ended'
      if (c.primary === machine) c.unpromoted = true
    },
  )
}
