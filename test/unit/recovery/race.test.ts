// Two recover at once, on a log that several write: one outcome and one audit row for each write (recovery.md sections 6 and 18).
import { describe, expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { DirRoot } from '../../../bindings/root/index.ts'
import { failpoints, FakeFiles, FP } from '../../../bindings/testing/index.ts'
import { simWorld, type SimWorld } from '../../sim/sim-world.ts'
import { auditAll, contents, forge, items, notes } from './forge.ts'

const SHARED = { writers: 'shared', upkeep: 'manual', threads: 0 } as const

interface Process {
  readonly pid: number
  readonly sim: SimWorld
  open(): Promise<Store>
}

/** Processes of one host over one directory; `dead` ones do not answer. */
class Machine {
  readonly files = new FakeFiles()
  readonly dead = new Set<number>()
  private pid = 0

  process(host = 'here'): Process {
    const pid = ++this.pid
    const sim = simWorld({
      seed: pid,
      files: this.files,
      host: { name: host, pid, processStartTime: String(pid), isAlive: (other) => !this.dead.has(other) },
      startMs: 1_700_000_000_000 + pid * 1000,
    })
    return { pid, sim, open: () => Store.open(new DirRoot('/data/store', sim.world), { ...SHARED, world: sim.world }) }
  }

  /** A store with writes that its process left: even ones armed, odd ones sealed. */
  async abandoned(count: number): Promise<string[]> {
    const owner = this.process()
    const store = await owner.open()
    await store.create(items, notes)
    const { engine } = store as unknown as { engine: Parameters<typeof forge>[0] }
    const ids: string[] = []
    for (let i = 0; i < count; i++) {
      const forged = await forge(engine, i % 3 === 2 ? { table: items, rows: [i] } : { rows: [i] })
      if (i % 2 === 1) await forged.seal()
      ids.push(forged.id)
    }
    this.dead.add(this.pid)
    failpoints(owner.sim.world).crash()
    return ids
  }
}

async function recovered(store: Store): Promise<string[]> {
  await store.refresh()
  return (await auditAll(store)).filter(({ by }) => by === 'varve:recovery').map(({ writeId, kind }) => `${writeId} ${kind}`)
}

describe('two processes sweep one store at once', () => {
  it.each([1, 6, 24])('both open, each of %i writes has one outcome and one audit row', async (count) => {
    const machine = new Machine()
    const ids = await machine.abandoned(count)
    const stores = await Promise.all([machine.process().open(), machine.process().open(), machine.process().open()])
    const rows = await recovered(stores[0]!)
    expect(rows.toSorted()).toEqual(ids.map((id, i) => `${id} ${i % 2 === 1 ? 'rolledForward' : 'rolledBack'}`).toSorted())
    for (const store of stores) {
      expect((await recovered(store)).toSorted()).toEqual(rows.toSorted())
      const { notes: unkeyed, items: keyed } = await contents(store)
      const odd = ids.map((_, i) => i).filter((i) => i % 2 === 1)
      expect(unkeyed).toEqual(odd.filter((i) => i % 3 !== 2))
      expect(keyed).toEqual(
        odd
          .filter((i) => i % 3 === 2)
          .map((i) => `${i}:v${i}`)
          .toSorted(),
      )
      await store.close()
    }
  })

  it.each([FP.sweep.beforeGates, FP.sweep.beforeRollForward, FP.promote.before, FP.publish.beforeAppend])(
    'one parked at %s while another finishes: it converges, no error, no second row',
    async (point) => {
      const machine = new Machine()
      const ids = await machine.abandoned(2)
      const slow = machine.process()
      const parked = failpoints(slow.sim.world).arm(point, { park: true, times: 1, when: ({ writeId }) => writeId === ids[1] })
      const opening = slow.open()
      await parked.reached()
      const quick = await machine.process().open()
      expect((await contents(quick)).notes).toEqual([1])
      parked.release()
      const late = await opening
      parked[Symbol.dispose]()
      expect(await recovered(late)).toEqual([`${ids[0]} rolledBack`, `${ids[1]} rolledForward`])
      expect((await contents(late)).notes).toEqual([1])
      await late.append(notes, { at: 5, text: 'x' })
      await quick.refresh()
      expect((await contents(quick)).notes).toEqual([1, 5])
      await Promise.all([late.close(), quick.close()])
    },
  )

  it('a sweeper parked before its rollback while another rolls back: one row, both open', async () => {
    const machine = new Machine()
    const ids = await machine.abandoned(1)
    const slow = machine.process()
    const parked = failpoints(slow.sim.world).arm(FP.sweep.beforeRollBack, { park: true, times: 1 })
    const opening = slow.open()
    await parked.reached()
    const quick = await machine.process().open()
    parked.release()
    const late = await opening
    parked[Symbol.dispose]()
    expect(await recovered(late)).toEqual([`${ids[0]} rolledBack`])
    await Promise.all([late.close(), quick.close()])
  })
})

describe('one that looks while another decides and retires', () => {
  // Of a write whose table is newer the file of keys is read twice: for its digest, and for its keys.
  it.each([
    ['.keys', 1],
    ['.keys', 2],
    ['.arrow', 1],
    ['INTENT', 1],
  ] as const)('given its read of %s (time %i) answered only behind that, it opens: one row, one audit record', async (ending, time) => {
    const machine = new Machine()
    const owner = await machine.process().open()
    await owner.create(items, notes)
    const { engine } = owner as unknown as { engine: Parameters<typeof forge>[0] }
    const { id, seal } = await forge(engine, { table: items, rows: [1] })
    await seal()
    await owner.upsert(items, { id: 5, v: 'other' })
    machine.dead.add(1)
    failpoints((owner as unknown as { engine: { parts: { world: SimWorld['world'] } } }).engine.parts.world).crash()

    const slow = machine.process()
    const reached = Promise.withResolvers<void>()
    const release = Promise.withResolvers<void>()
    const root = new DirRoot('/data/store', slow.sim.world)
    const get = root.get.bind(root)
    let reads = 0
    root.get = async (name, ...rest) => {
      if (name.startsWith(`staging/${id}/`) && name.endsWith(ending) && ++reads === time) {
        reached.resolve()
        await release.promise
      }
      return get(name, ...rest)
    }
    const opening = Store.open(root, { ...SHARED, world: slow.sim.world })
    await Promise.race([reached.promise, opening])
    expect(reads).toBe(time)
    const quick = await machine.process().open()
    expect((await contents(quick)).items).toEqual(['1:v1', '5:other'])
    release.resolve()
    const late = await opening
    expect(await recovered(late)).toEqual([`${id} rolledForward`])
    expect((await contents(late)).items).toEqual(['1:v1', '5:other'])
    expect([await late.pending(), (await late.stats()).supersededOutcomes]).toEqual([[], 0])
    await Promise.all([late.close(), quick.close()])
  })
})

describe('given a writer of another process', () => {
  it('that lives, an open leaves its armed and sealed writes alone', async () => {
    const machine = new Machine()
    const owner = await machine.process().open()
    await owner.create(items, notes)
    const { engine } = owner as unknown as { engine: Parameters<typeof forge>[0] }
    const armed = await forge(engine, { rows: [1] })
    const sealed = await forge(engine, { rows: [2] })
    await sealed.seal()
    const other = await machine.process().open()
    expect((await other.pending()).map(({ writeId, state, decision }) => [writeId, state, decision.kind])).toEqual([
      [armed.id, 'armed', 'wait'],
      [sealed.id, 'sealed', 'rollForward'],
    ])
    await other.append(notes, { at: 7, text: 'x' })
    expect((await contents(other)).notes).toEqual([7])
    expect(await recovered(other)).toEqual([])
    await Promise.all([owner.close(), other.close()])
  })

  it('that died, the next write of a store that was open all the while heals what it sealed', async () => {
    const machine = new Machine()
    const witness = await machine.process().open()
    await witness.create(items, notes)
    const dying = machine.process()
    const owner = await dying.open()
    const { engine } = owner as unknown as { engine: Parameters<typeof forge>[0] }
    const sealed = await forge(engine, { rows: [2] })
    await sealed.seal()
    await witness.append(notes, { at: 7, text: 'x' })
    await witness.refresh()
    machine.dead.add(dying.sim.world.host.pid)
    failpoints(dying.sim.world).crash()
    await witness.append(notes, { at: 8, text: 'x' })
    expect((await contents(witness)).notes).toEqual([2, 7, 8])
    expect(await recovered(witness)).toEqual([`${sealed.id} rolledForward`])
    await witness.close()
  })

  it('on another host, an armed write is waited for; a LEASE that stands still for its term under watch says that it is gone', async () => {
    const machine = new Machine()
    const far = machine.process('far away')
    const owner = await far.open()
    await owner.create(items, notes)
    const { engine } = owner as unknown as { engine: Parameters<typeof forge>[0] }
    const { id } = await forge(engine, { rows: [1] })
    const here = machine.process()
    const store = await here.open()
    expect((await store.pending()).map(({ decision }) => decision.kind)).toEqual(['wait'])
    failpoints(far.sim.world).crash()
    await here.sim.time.advance(20_000)
    expect(await recovered(store)).toEqual([])
    await here.sim.time.advance(11_500)
    for (let i = 0; i < 50 && (await recovered(store)).length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(await recovered(store)).toEqual([`${id} rolledBack`])
    expect(await store.pending()).toEqual([])
    await store.close()
  })

  it('that is thought dead and is not: its fused record comes too late, FencedError, no row, one outcome', async () => {
    const machine = new Machine()
    const slow = machine.process()
    const owner = await slow.open()
    await owner.create(items, notes)
    const parked = failpoints(slow.sim.world).arm(FP.promote.after, { park: true, times: 1 })
    const rows = Array.from({ length: 20_000 }, (_, at) => ({ at, text: 'some text' }))
    const load = owner.append(notes, rows).then(
      () => 'published',
      (error: Error & { scope?: string }) => `${error.name} ${error.scope}`,
    )
    await parked.reached()
    machine.dead.add(slow.pid)
    const other = await machine.process().open()
    expect(await recovered(other)).toHaveLength(1)
    parked.release()
    expect(await load).toBe('FencedError write')
    parked[Symbol.dispose]()
    await owner.refresh()
    expect([await owner.scan(notes).count(), await other.scan(notes).count()]).toEqual([0, 0])
    expect(await recovered(other)).toHaveLength(1)
    await owner.append(notes, { at: 1, text: 'x' })
    await Promise.all([owner.close(), other.close()])
  })
})
