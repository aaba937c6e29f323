// What can happen to a cluster, one event at a time. Each draws what it needs from the cluster's dice and begins it; none waits.

import { FAILPOINTS, type FailpointName, FP } from '../../../bindings/testing/index.ts'
import type { Cluster } from './cluster.ts'
import { KEYS, type Write } from './history.ts'
import type { EventName } from './profiles.ts'
import { promote } from './promotion.ts'
import type { Asked } from './writer.ts'

const TICKS_MS = [5, 20, 20, 20, 50, 50, 50, 100, 300, 1000] as const
const POINTS: readonly FailpointName[] = FAILPOINTS.filter((name) => name.startsWith('ship.'))
const WRITES: readonly Write['how'][] = ['upsert', 'upsert', 'upsert', 'upsert', 'upsert', 'upsert', 'delete', 'delete']

export const EVENTS: Readonly<Record<EventName, (cluster: Cluster) => void | Promise<void>>> = {
  append(c) {
    const { dice } = c
    const writer = dice.once(8) ? dice.pick(c.writers) : c.writer
    if (writer === undefined || writer.inFlight > 40) return
    for (let n = 1 + dice.int(3); n > 0; n--) {
      const how = dice.once(40) ? 'large' : dice.pick(WRITES)
      writer.write({ changes: changesOf(c, how), how, ...asksOf(c) })
    }
  },
  retry(c) {
    const { dice, writer, unanswered } = c
    if (writer?.state !== 'open' || unanswered.length === 0) return
    // The newest may be of this open.
    const again = unanswered.splice(dice.once(2) ? -1 : dice.int(unanswered.length), 1)[0]!
    const { changes, how, ack, key } = again
    writer.write({ changes, how, key, ack: dice.once(3) ? undefined : ack, again })
  },
  mode(c) {
    const { dice, writer } = c
    if (writer?.state !== 'open' || c.isPromoting) return
    writer.changeMode(dice.pick(c.voters.length < 3 ? ['async', 'all'] : ['async', 'quorum', 'quorum', 'all']))
  },
  reship: (c) => c.writer?.reship(),
  deliver: (c) => pass(c, 1 + c.dice.int(4)),
  tick: (c) => pass(c, c.dice.pick(TICKS_MS)),
  crash(c) {
    const up = c.machines.filter((machine) => c.nodes.has(machine))
    if (up.length === 0) return
    const machine = c.dice.pick(up)
    if (c.dice.once(2)) return c.stop(machine, c.dice.pick(['kill', 'power']))
    // Where shipping has something half done, whenever it comes there.
    const point = c.dice.pick(POINTS)
    c.trace.say(`${machine.name} is to die at ${point}`)
    c.nodes.get(machine)!.process.points.arm(point, { crash: true, times: 1, mayMiss: true })
  },
  restart(c) {
    // Whoever ended by itself (fenced, out of luck) is started again too.
    const ended = c.machines.filter((machine) => {
      const node = c.nodes.get(machine)
      return node?.state === 'ended' || (node?.kind === 'follower' && node.hasFailed)
    })
    if (ended.length > 0) c.stop(c.dice.pick(ended), 'kill')
    const down = c.machines.filter((machine) => !c.nodes.has(machine))
    if (down.length > 0) c.start(c.dice.pick(down))
  },
  partition(c) {
    const a = c.dice.pick(c.machines)
    const b = c.dice.pick(c.machines.filter((machine) => machine !== a))
    const oneWay = c.dice.once(3)
    c.trace.say(`nothing passes from ${a.name} to ${b.name}${oneWay ? '' : ' and back'}`)
    c.network.partition(a.name, b.name, { oneWay })
  },
  heal(c) {
    c.trace.say('the network heals')
    c.network.heal()
  },
  endpoint(c) {
    const machine = c.dice.pick(c.machines.filter((each) => each !== c.primary))
    const { version } = c.endpoints.get(machine)!
    const isMoved = c.dice.once(2)
    // A process listens where it was told to at its start: a new address is one that it is started again with.
    if (isMoved && c.nodes.has(machine)) c.stop(machine, 'kill')
    const data = isMoved ? `${machine.name}:${version + 1}` : c.endpoints.get(machine)!.data
    c.endpoints.set(machine, { data, version: version + 1, ...(isMoved ? {} : { control: `${machine.name}:c${version}` }) })
    c.trace.say(`${machine.name} has endpoint ${data}, version ${version + 1}`)
    c.assign()
  },
  epoch: promote,
  checkpoint(c) {
    c.writer?.long('checkpoint', (store) => store.flush())
  },
  optimize(c) {
    c.writer?.long('optimize', (store) => store.optimize())
  },
  reclaim(c) {
    const versions = 1 + c.dice.int(c.profile.keeps)
    c.writer?.long(`reclaim to ${versions} versions`, (store) => store.vacuum({ keep: { versions } }))
  },
  corrupt(c) {
    const machine = c.dice.pick(c.machines)
    const file = machine.rot(/^fragments\//)
    if (file === undefined) return
    c.rotten.get(machine)!.add(file)
    c.trace.say(`${machine.name}: a bit of ${file} turns over`)
  },
  slow(c) {
    const machine = c.dice.pick(c.machines)
    const node = c.nodes.get(machine)
    if (node?.kind === 'writer' && c.dice.once(2)) {
      c.trace.say(`${machine.name}: a hook of a recovery fails`)
      node.process.points.arm(FP.ship.stepHook, { error: 'io', times: 1, mayMiss: true })
      return
    }
    c.trace.say(`${machine.name} has a slow disk`)
    machine.slow(5 + c.dice.int(50))
  },
  fault(c) {
    const { followers } = c
    if (followers.length === 0) return
    const { machine } = c.dice.pick(followers).process
    const what = machine.breakDown()
    if (what !== undefined) c.trace.say(`${machine.name} has a disk that fails: ${what}`)
  },
  assign(c) {
    if (c.profile.isElectorateOpen) changeVoters(c)
    else {
      const learner = c.machines.findLast((machine) => c.roles.get(machine) === 'learner')
      if (learner !== undefined && learner !== c.primary) c.absent = c.absent === undefined ? learner : undefined
    }
    c.trace.say(`assigned again${c.absent === undefined ? '' : ` without ${c.absent.name}`}, ${c.voters.map(({ name }) => name).join()} vote`)
    c.assign()
  },
}

/** One comes back, or one is let go, or a learner becomes a voter, or the other way. */
function changeVoters(c: Cluster): void {
  // Who opens now counts by what was told to it.
  if (c.writer?.state !== 'open' || c.isPromoting) return
  if (c.absent !== undefined && c.dice.once(2)) return void (c.absent = undefined)
  const machine = c.dice.pick(c.machines.filter((each) => each !== c.primary && each !== c.absent))
  const isVoter = c.roles.get(machine) === 'voter'
  const fewest = c.modes.has('quorum') ? 3 : 2
  if (isVoter && c.voters.length <= fewest) return
  if (c.absent === undefined && c.dice.once(2)) c.absent = machine
  else c.roles.set(machine, isVoter ? 'learner' : 'voter')
}

async function pass(c: Cluster, ms: number): Promise<void> {
  c.trace.say(`${ms} ms pass`)
  await c.clock.advance(ms)
}

/** Some writes can be asked for again, some ask for more nodes than the mode. */
function asksOf(c: Cluster): Pick<Asked, 'ack' | 'key'> {
  const { dice, mode } = c
  const ack = dice.once(6) ? dice.pick<'quorum' | 'all'>(mode === 'all' ? ['all'] : ['quorum', 'all']) : undefined
  return { ack, key: dice.once(3) ? `k${c.nextKey()}` : undefined }
}

function changesOf({ dice }: Cluster, how: Write['how']): Write['changes'] {
  const count = how === 'large' ? KEYS : 1 + dice.int(4)
  const changes = new Map<number, number>()
  for (let i = 0; i < count; i++) changes.set(how === 'large' ? i : dice.int(KEYS), how === 'delete' ? 0 : 1 + dice.int(1 << 30))
  return [...changes]
}
