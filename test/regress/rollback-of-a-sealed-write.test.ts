// A sweep that decided about an unsealed write must decide again when it finds a seal there: found by the model of staged writes (rule rollbackNamesSeal).
import { expect, it } from 'vitest'

import { Store } from '../../bindings/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { failpoints, FakeFiles, FP } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'
import { note, notes } from '../unit/write/helpers.ts'

it('sealed by an owner that was taken for dead, between the decision and the roll-back: the write stays', async () => {
  const files = new FakeFiles()
  const process = (pid: number) => {
    // Everybody takes everybody else for dead.
    const sim = simWorld({ seed: pid, files, host: { pid, processStartTime: String(pid), isAlive: () => false } })
    return { sim, open: () => Store.open(new DirRoot('/data/store', sim.world), { writers: 'shared', upkeep: 'manual', threads: 0, world: sim.world }) }
  }
  const owner = await process(1).open()
  await owner.create(notes)
  const first = await owner.stage()
  await first.append(notes, [note(1)])
  const second = await owner.stage()
  await second.append(notes, [note(2)])

  const sweeper = process(2)
  const points = failpoints(sweeper.sim.world)
  const before = [first, second].map(({ id }) => points.arm(FP.sweep.beforeRollBack, { park: true, times: 1, when: ({ writeId }) => writeId === id }))
  const after = points.arm(FP.sweep.afterRollBack, { park: true, times: 1, when: ({ writeId }) => writeId === first.id })
  const opening = sweeper.open()
  await Promise.all(before.map((parked) => parked.reached()))
  await second.seal()
  // The roll-back of the first write loses its slot to the seal, so the sweeper reads it; only then does it go on with the second.
  before[0]!.release()
  await after.reached()
  before[1]!.release()
  after.release()
  const other = await opening
  for (const parked of [...before, after]) parked[Symbol.dispose]()

  expect(await other.outcome(second.id)).toBe('pending')
  await second.publish()
  await other.refresh()
  expect((await other.scan(notes).toArray()).map(({ at }) => at)).toEqual([2])
  expect(await other.outcome(first.id)).toBe('rolledBack')
  await other.close()
  await owner.close()
})
