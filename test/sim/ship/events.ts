// What can happen to a cluster, one event at a time. Each draws what it needs from the cluster's dice and begins it; none waits.

import type { Cluster } from './cluster.ts'
import { KEYS, type Write } from './history.ts'
import type { EventName } from './profiles.ts'

const TICKS_MS = [1, 5, 20, 20, 20, 50, 50, 100, 300, 1000] as const

export const EVENTS: Readonly<Record<EventName, (cluster: Cluster) => void | Promise<void>>> = {
  append(c) {
    const { writer, dice } = c
    if (writer === undefined || writer.inFlight > 40) return
    for (let n = 1 + dice.int(3); n > 0; n--) {
      const how = dice.pick([
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'upsert',
        'delete',
        'delete',
        dice.once(6) ? 'large' : 'upsert',
      ] as const)
      writer.write(changesOf(c, how), how)
    }
  },
  deliver() {},
  async tick(c) {
    const ms = c.dice.pick(TICKS_MS)
    c.trace.say(`${ms} ms pass`)
    await c.clock.advance(ms)
  },
  crash(c) {
    const up = c.machines.filter(({ process }) => process !== undefined)
    if (up.length > 0) c.stop(c.dice.pick(up), c.dice.pick(['kill', 'power']))
  },
  restart(c) {
    const { writer } = c
    if (writer?.state === 'ended') c.stop(writer.process.machine, 'kill')
    if (c.primary.process === undefined) c.startWriter()
  },
  partition() {},
  heal() {},
  endpoint() {},
  epoch() {},
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
  async corrupt(c) {
    const machine = c.dice.pick(c.machines)
    const what = await machine.rot(/^fragments\//)
    if (what !== undefined) c.trace.say(`${machine.name}: a bit of ${what} turns over`)
  },
  slow(c) {
    const machine = c.dice.pick(c.machines)
    c.trace.say(`${machine.name} has a slow disk`)
    machine.slow(5 + c.dice.int(50))
  },
  assign() {},
}

function changesOf({ dice }: Cluster, how: Write['how']): Write['changes'] {
  const count = how === 'large' ? KEYS : 1 + dice.int(4)
  const changes = new Map<number, number>()
  for (let i = 0; i < count; i++) changes.set(how === 'large' ? i : dice.int(KEYS), how === 'delete' ? 0 : 1 + dice.int(1 << 30))
  return [...changes]
}
