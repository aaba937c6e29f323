// Kernel memory that does not grow: the n-th growth fails, for every n of a workload.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { columns, gt, KernelMemoryExhaustedError, Store, t, table } from '../../../bindings/index.ts'
import { kernels, limitKernels, trimKernels } from '../../../bindings/kernels/index.ts'
import { PLACES, QUIET } from './places.ts'

const items = table('items', { id: t.int64(), name: t.utf8(), group: t.int32(), n: t.float64().nullable() }, { key: ['id'] })
type Item = typeof items.Row

const COUNT = 30_000

const itemOf = (i: number): Item => ({ id: BigInt(i), name: `name ${i * 7} ${'x'.repeat(i % 30)}`, group: i % 40, n: i % 11 === 0 ? null : i / 4 })

const byId = (a: Item, b: Item): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

/** The growth that fails, counted from 1; `lasting`: those behind it, too. */
const fault = { at: 0, lasting: false, count: 0, hit: 0 }
const grow = WebAssembly.Memory.prototype.grow

beforeEach(() => {
  WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
    fault.count++
    if (fault.at !== 0 && (fault.count === fault.at || (fault.lasting && fault.count > fault.at))) {
      fault.hit++
      throw new RangeError('WebAssembly.Memory.grow(): Unable to grow instance memory')
    }
    return grow.call(this, pages)
  }
})

afterEach(() => {
  WebAssembly.Memory.prototype.grow = grow
  fault.at = 0
})

class World {
  readonly place: string
  store: Store | undefined
  created = false
  readonly model: Map<bigint, Item> = new Map()

  constructor(place: string) {
    this.place = place
  }

  get isOpen(): boolean {
    return this.store !== undefined && !this.store.closed && this.created
  }

  get s(): Store {
    return this.store!
  }
}

interface Step {
  readonly name: string
  run(w: World): Promise<void>
  /** What the step makes of the rows, once it resolved. */
  after?(model: Map<bigint, Item>): void
}

function range(from: number, to: number): Item[] {
  return Array.from({ length: to - from }, (_, i) => itemOf(from + i))
}

const asColumns = (rows: readonly Item[]) =>
  columns({ id: rows.map((row) => row.id), name: rows.map((row) => row.name), group: rows.map((row) => row.group), n: rows.map((row) => row.n) })

const put =
  (rows: readonly Item[]) =>
  (model: Map<bigint, Item>): void =>
    rows.forEach((row) => model.set(row.id, row))

const changed = range(2000, 6000).map((row) => ({ ...row, name: `changed ${row.id}`, n: 1 }))

async function check(w: World): Promise<void> {
  const rows = (await w.s.scan(items).toArray()).toSorted(byId)
  expect(rows).toEqual([...w.model.values()].toSorted(byId))
}

const STEPS: readonly Step[] = [
  {
    name: 'open',
    run: async (w) => {
      w.store = await Store.open(w.place, { ...QUIET })
    },
  },
  {
    name: 'create',
    run: async (w) => {
      await w.s.create(items)
      w.created = true
    },
  },
  { name: 'append columns', run: async (w) => void (await w.s.append(items, asColumns(range(0, COUNT)))), after: put(range(0, COUNT)) },
  { name: 'append rows', run: async (w) => void (await w.s.append(items, range(COUNT, COUNT + 3000))), after: put(range(COUNT, COUNT + 3000)) },
  { name: 'flush', run: async (w) => w.s.flush() },
  { name: 'upsert', run: async (w) => void (await w.s.upsert(items, asColumns(changed))), after: put(changed) },
  {
    name: 'delete by predicate',
    run: async (w) => void (await w.s.deleteWhere(items, gt('group', 37))),
    after: (model) => [...model.values()].filter((row) => row.group > 37).forEach((row) => model.delete(row.id)),
  },
  {
    name: 'scan with a filter',
    run: async (w) => {
      const rows = await w.s.scan(items, { where: gt('n', 1000), select: ['id', 'name'] }).toArray()
      expect(rows.length).toBe([...w.model.values()].filter((row) => row.n !== null && row.n > 1000).length)
    },
  },
  {
    name: 'scan in order',
    run: async (w) => {
      const rows = await w.s.scan(items, { select: ['id'], orderBy: 'name desc' }).toArray()
      const expected = [...w.model.values()].toSorted((a, b) => Buffer.compare(Buffer.from(b.name), Buffer.from(a.name)))
      expect(rows.map((row) => row.id)).toEqual(expected.map((row) => row.id))
    },
  },
  {
    name: 'aggregate by group',
    run: async (w) => {
      const groups = await w.s.scan(items).aggregate({ rows: 'count', sum: { sum: 'id' }, most: { max: 'name' } }, { by: ['group'] })
      expect(groups.reduce((sum, group) => sum + group.rows, 0)).toBe(w.model.size)
      for (const group of groups) {
        const rows = [...w.model.values()].filter((row) => row.group === group.group)
        expect(group.sum).toBe(rows.reduce((sum, row) => sum + row.id, 0n))
        expect(group.most).toBe(
          rows
            .map((row) => row.name)
            .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
            .at(-1),
        )
      }
    },
  },
  {
    name: 'get',
    run: async (w) => {
      expect(await w.s.get(items, 2500n)).toEqual(w.model.get(2500n))
      expect(await w.s.get(items, 38n)).toBeUndefined()
    },
  },
  {
    name: 'stage and publish',
    run: async (w) => {
      const write = await w.s.stage('a load')
      try {
        await write.append(items, asColumns(range(50_000, 58_000)))
        await write.publish()
      } catch (error) {
        await write.rollback()
        throw error
      }
    },
    after: put(range(50_000, 58_000)),
  },
  { name: 'flush again', run: async (w) => w.s.flush() },
  // Rows of records: the next open decodes them.
  ...[60_000, 61_000, 62_000, 63_000, 64_000, 65_000].map((from) => ({
    name: `append rows from ${from}`,
    run: async (w: World) => void (await w.s.append(items, range(from, from + 1000))),
    after: put(range(from, from + 1000)),
  })),
  { name: 'close', run: async (w) => w.s.close() },
  {
    name: 'open again',
    run: async (w) => {
      w.store = await Store.open(w.place, { ...QUIET })
    },
  },
]

const MiB = 1 << 20
let attempts = 0

/** As a fresh thread: what is idle and has grown is dropped, the shared instance and the one that groupings keep. */
function fresh(): void {
  trimKernels(0)
  limitKernels(512 * MiB + 64 * (++attempts % 1000))
}

async function attempt(w: World, step: Step): Promise<Error | undefined> {
  return step.run(w).then(
    () => undefined,
    (reason: unknown) => reason as Error,
  )
}

/** Everything is there, nothing of what failed, and no region is left behind. */
async function settled(w: World, what: string): Promise<void> {
  expect(kernels().arena.usedBytes, `${what}: all scratch is given back`).toBe(0)
  if (w.isOpen) await check(w)
}

/** What failed in any run. The log's own instances are kept by the process, so an open grows them in the first runs only. */
const everFailed = new Set<string>()

describe.each(PLACES)('the n-th growth of kernel memory fails, %s', (_, place) => {
  it.each([
    ['once', false],
    ['and every one after it', true],
  ])('%s: a typed error for every n, then the same handle reads and writes', async (__, lasting) => {
    const w = new World(place())
    const failures: string[] = []
    for (const step of STEPS) {
      for (let n = 1; ; n++) {
        fresh()
        Object.assign(fault, { at: n, lasting, count: 0, hit: 0 })
        const error = await attempt(w, step)
        fault.at = 0
        const what = `${step.name}, growth ${n}`
        // The step is through: it asked for fewer growths, or found a way without.
        if (error === undefined) break
        if (!(error instanceof KernelMemoryExhaustedError)) throw new Error(`${what}: ${error.name}: ${error.message}`, { cause: error })
        expect(fault.hit, what).toBeGreaterThan(0)
        failures.push(what)
        await settled(w, what)
      }
      step.after?.(w.model)
      await settled(w, step.name)
    }
    failures.forEach((what) => everFailed.add(what))
    expect(failures).toEqual(expect.arrayContaining(['append columns, growth 1', 'flush, growth 1', 'scan in order, growth 2']))
    await w.s.append(items, itemOf(1_000_000))
    expect((await w.s.get(items, 1_000_000n))?.name).toBe(itemOf(1_000_000).name)
    expect((await w.s.verify()).ok).toBe(true)
    await w.s.close()
  })
})

it('opens were among the calls that failed', () => {
  expect([...everFailed]).toEqual(expect.arrayContaining(['open, growth 1', 'open again, growth 1']))
})

describe('a small bound of kernel memory', () => {
  it('ends calls that need more with a typed error; with more, they go through on the same handle', async () => {
    const w = new World(PLACES[0]![1]())
    let refused = 0
    for (const step of STEPS) {
      limitKernels(MiB)
      const error = await attempt(w, step)
      if (error !== undefined) {
        if (!(error instanceof KernelMemoryExhaustedError)) throw new Error(`${step.name}: ${error.name}: ${error.message}`, { cause: error })
        refused++
        limitKernels(512 * MiB)
        await settled(w, step.name)
        await step.run(w)
      }
      step.after?.(w.model)
    }
    limitKernels(512 * MiB)
    await settled(w, 'the end')
    expect(refused).toBeGreaterThan(0)
    await w.s.close()
  })
})
