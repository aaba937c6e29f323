// What the service around a cluster does when it wants another writer: asks the nodes, lets candidates() decide, promotes.
//
// Whoever is asked is fenced first, so that it does not confirm to the old primary what it has not told. The old one may live, and find out. It may even be started
// again meanwhile, which takes it to the epoch of a fence without room, or above: nobody has decided that it goes on, so nobody follows it (decision 0030).

import { candidates, type NodeRecord } from '../../../bindings/ship/index.ts'
import type { Cluster } from './cluster.ts'
import { STORE_OPTIONS, textOf, Writer } from './writer.ts'

const ASKED_MS = 400
/** Epochs that a careful service leaves free: a primary that is started again takes the next one by itself. */
const ROOM = 3

/** Begins one, unless one is under way. */
export function promote(c: Cluster): void {
  if (c.isPromoting) return
  const old = c.writer
  // One that starts now would claim an epoch that nobody knows yet.
  if (old?.state === 'opening') c.stop(c.primary, 'kill')
  else if (old !== undefined && c.dice.once(2)) c.stop(c.primary, 'kill')
  const asked = c.followers.filter((each) => each.state === 'open' && each.log !== undefined)
  const epoch = (c.epoch += c.dice.once(2) ? 1 : ROOM)
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
  const { storeId } = records[0] ?? { storeId: '' }
  const sets = c.electorate.counting
  // Whoever is let go, and never counted for anything that may be kept, is not asked.
  const asked = records.filter(({ id }) => c.absent?.name !== id || sets.some((voters) => voters.some(({ name }) => name === id)))
  const answers = sets.map((voters) => {
    const isVoter = (id: string): boolean => voters.some(({ name }) => name === id)
    const known = asked.map((record) => ({ ...record, role: isVoter(record.id) ? ('voter' as const) : ('learner' as const), state: c.stateOf(record.id) }))
    return (c.seams.candidates ?? candidates)(known, c.mode, new Set([c.primary, ...voters]).size, { storeId, epoch })
  })
  const { candidates: found, mayLose, detail } = answers.find(({ reason }) => reason === 'too_few_records') ?? answers.at(-1)!
  const winner = c.followers.find(({ name, state }) => name === found[0]?.id && state === 'open')
  // What knows nothing of the mode is from before the cluster was founded.
  if (winner === undefined || (c.founded !== 'async' && !winner.isFounded)) {
    c.fencedAt = epoch
    return c.trace.say(`nobody can be promoted: ${detail}`)
  }
  c.trace.say(`${winner.name} is promoted: ${detail}`)
  if (mayLose) {
    c.losses++
    // A change to a stronger mode may be among what is lost.
    c.modes = new Set([...c.modes, 'async'])
    c.mode = 'async'
  }
  const { machine } = winner.process
  const heard = c.voters.filter(({ name }) => asked.some(({ id, isIntact, isAmnesic }) => id === name && isIntact && !isAmnesic))
  c.promotions.push({ heard: new Set(heard), mayLose })
  const writer = new Writer(c, winner.process)
  c.primary = machine
  c.unpromoted = false
  c.nodes.set(machine, writer)
  // Two writers of one epoch are told apart by their logs, but not by the names of their sessions: it claims one that nobody who was started meanwhile can have.
  const claimed = c.unasked.size > 0 ? Math.max(epoch, c.epoch + 2) : epoch
  winner.replica!.promote({ epoch: claimed, open: STORE_OPTIONS, ...(mayLose ? { acceptLossAbove: winner.log!.durableLsn } : {}) }).then(
    (store) => writer.start(store),
    (error: unknown) => {
      c.trace.say(`${winner.name} was not promoted: ${textOf(error)}`)
      writer.state = 'ended'
      // Refused before its links ended: it goes on as the replica that it was.
      if (winner.process.isAlive && !winner.replica!.closed && c.nodes.get(machine) === writer) c.nodes.set(machine, winner)
      if (c.primary === machine) c.unpromoted = true
    },
  )
}
