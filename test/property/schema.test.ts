// Definitions that change at random under rows that come at random, held against plain objects: what a dry run refuses apply refuses, and nothing else; what is
// accepted leaves every row as the new definition has it, in memory, flushed and reopened, and older positions as they were.
import fc from 'fast-check'
import { expect, it } from 'vitest'

import { type AnyTable, type Column, Store, t, table, VarveError } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

type Built = Column<any, any, any>
type Kind = 'int8' | 'int16' | 'int32' | 'int64' | 'uint8' | 'uint32' | 'float32' | 'float64' | 'date' | 'timestamp' | 'utf8' | 'bool'

const MAKE: Record<Kind, () => Built> = {
  int8: () => t.int8(),
  int16: () => t.int16(),
  int32: () => t.int32(),
  int64: () => t.int64(),
  uint8: () => t.uint8(),
  uint32: () => t.uint32(),
  float32: () => t.float32(),
  float64: () => t.float64(),
  date: () => t.date(),
  timestamp: () => t.timestamp('ms'),
  utf8: () => t.utf8(),
  bool: () => t.bool(),
}
const KINDS = Object.keys(MAKE) as Kind[]
/** What loses nothing: the list of docs/schema.md. */
const WIDER: Partial<Record<Kind, readonly Kind[]>> = {
  int8: ['int16', 'int32', 'int64'],
  int16: ['int32', 'int64'],
  int32: ['int64'],
  uint8: ['int16', 'int32', 'int64', 'uint32'],
  uint32: ['int64'],
  float32: ['float64'],
  date: ['timestamp'],
}

interface Col {
  readonly name: string
  readonly kind: Kind
  readonly nullable: boolean
  readonly def: unknown
  readonly from?: string
}

/** A value of a kind that every wider kind has too, by number. */
function valueOf(kind: Kind, n: number): unknown {
  if (kind === 'utf8') return `v${n}`
  if (kind === 'bool') return n % 2 === 0
  if (kind === 'date') return `2026-01-${String((n % 28) + 1).padStart(2, '0')}`
  if (kind === 'timestamp') return new Date(`2026-01-${String((n % 28) + 1).padStart(2, '0')}`)
  return kind === 'int64' ? BigInt(n % 100) : n % 100
}

function cast(value: unknown, from: Kind, to: Kind): unknown {
  if (value === null || value === undefined || from === to) return value
  if (to === 'int64') return BigInt(value as number)
  return to === 'timestamp' ? new Date(value as string) : value
}

function defOf(cols: readonly Col[], keyKind: Kind, name: string, from?: string): AnyTable {
  const columns: Record<string, Built> = { id: MAKE[keyKind]() }
  for (const col of cols) {
    let built = MAKE[col.kind]()
    if (col.nullable) built = built.nullable()
    if (col.def !== undefined) built = built.default(col.def)
    if (col.from !== undefined) built = built.renamedFrom(col.from)
    columns[col.name] = built
  }
  return table(name, columns, { key: ['id'], ...(from === undefined ? {} : { renamedFrom: from }) } as never) as unknown as AnyTable
}

interface Wanted {
  readonly cols: readonly Col[]
  readonly key: Kind
  readonly name: string
  readonly from?: string
}

const NAMES = ['a', 'b', 'c', 'd', 'e']

/** One change of a definition, by three numbers; it may well be one that is refused. */
function mutate({ cols, key, name }: Wanted, what: number, x: number, y: number): Wanted {
  const at = cols.length === 0 ? 0 : x % cols.length
  const col = cols[at]
  const others = cols.filter((_, i) => i !== at).map(({ from: _from, ...each }) => each)
  const bare = cols.map(({ from: _from, ...each }) => each)
  const free = NAMES.filter((each) => !cols.some((other) => other.name === each))
  switch (what % 9) {
    case 0: {
      if (free.length === 0) return { cols: bare, key, name }
      const kind = KINDS[x % KINDS.length]!
      return { cols: [...bare, { name: free[0]!, kind, nullable: y % 3 === 0, def: y % 3 === 1 ? valueOf(kind, x) : undefined }], key, name }
    }
    case 1:
      return col === undefined ? { cols, key, name } : { cols: others, key, name }
    case 2:
    case 3: {
      if (col === undefined) return { cols, key, name }
      const wider = WIDER[col.kind] ?? []
      const kind = what % 9 === 2 && wider.length > 0 ? wider[y % wider.length]! : KINDS[y % KINDS.length]!
      return { cols: [...others, { ...col, kind, def: col.def === undefined ? undefined : valueOf(kind, x) }], key, name }
    }
    case 4:
      return col === undefined || free.length === 0
        ? { cols, key, name }
        : { cols: [...others, { ...col, name: free[y % free.length]!, from: col.name }], key, name }
    case 5:
      return col === undefined ? { cols, key, name } : { cols: [...others, { ...col, nullable: !col.nullable }], key, name }
    case 6:
      return col === undefined ? { cols, key, name } : { cols: [...others, { ...col, def: y % 2 === 0 ? undefined : valueOf(col.kind, y) }], key, name }
    case 7:
      return { cols: bare, key: (['int16', 'int32', 'int64'] as const)[y % 3]!, name }
    default:
      return { cols: bare, key, name: name === 'one' ? 'two' : 'one', from: name }
  }
}

const step = fc.tuple(fc.constantFrom('alter', 'alter', 'rows', 'flush', 'reopen', 'upsert', 'nulls'), fc.nat(1000), fc.nat(1000), fc.nat(1000))

it('definitions change under rows as plain objects would, and a dry run refuses what apply refuses', async () => {
  const seen = { applied: 0, refused: 0 }
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
      const root = new MemoryRoot()
      const open = (): Promise<Store> => Store.open(root, { upkeep: 'manual', threads: 0 })
      let store = await open()
      let now: Wanted = { cols: [{ name: 'a', kind: 'int8', nullable: true, def: undefined }], key: 'int16', name: 'one' }
      let model = new Map<number, Record<string, unknown>>()
      let next = 0
      const past: { def: AnyTable; lsn: bigint; rows: unknown[] }[] = []
      const def = (): AnyTable => defOf(now.cols, now.key, now.name)
      const shown = (): unknown[] => [...model].toSorted(([a], [b]) => a - b).map(([, row]) => row)
      const check = async (): Promise<void> => {
        expect(await store.scan(def(), { orderBy: 'id' as never }).toArray()).toEqual(shown())
        for (const row of shown().slice(0, 3) as Record<string, unknown>[]) expect(await store.get(def() as never, row['id'] as never)).toEqual(row)
      }
      try {
        await store.create(def())
        for (const [what, a, b, c] of steps) {
          if (what === 'rows' || what === 'upsert' || what === 'nulls') {
            const ids = what === 'upsert' ? [...model.keys()].slice(0, 1 + (a % 3)) : Array.from({ length: 1 + (a % 4) }, () => next++)
            const rows = ids.map((id) => {
              const row: Record<string, unknown> = { id: valueOf(now.key === 'int64' ? 'int64' : 'int32', id) }
              for (const col of now.cols) row[col.name] = what === 'nulls' && col.nullable ? null : valueOf(col.kind, b + id)
              return [id, row] as const
            })
            if (rows.length > 0) await store.upsert(def() as never, rows.map(([, row]) => row) as never)
            for (const [id, row] of rows) model.set(id, row)
          } else if (what === 'flush') await store.flush()
          else if (what === 'reopen') {
            await store.close()
            store = await open()
          } else {
            const wanted = mutate(now, a, b, c)
            const to = defOf(wanted.cols, wanted.key, wanted.name, wanted.from)
            const o = { allowDataLoss: c % 4 !== 0 }
            const before = store.lsn
            const said = await store.apply([to], { ...o, dryRun: true }).then(
              ({ steps: list }) => ({ list }),
              (error: unknown) => ({ error }),
            )
            expect(store.lsn).toBe(before)
            const done = await store.apply([to], o).then(
              ({ steps: list }) => ({ list }),
              (error: unknown) => ({ error }),
            )
            if ('error' in said) {
              expect(said.error).toBeInstanceOf(VarveError)
              expect(done).toEqual(said)
              expect(store.lsn).toBe(before)
              seen.refused++
              continue
            }
            expect(done).toEqual(said)
            seen.applied++
            if (said.list.length > 0) past.push({ def: def(), lsn: before, rows: structuredClone(shown()) })
            model = new Map(
              [...model].map(([id, row]) => {
                const made: Record<string, unknown> = { id: cast(row['id'], now.key, wanted.key) }
                for (const col of wanted.cols) {
                  const old = now.cols.find(({ name }) => name === (col.from ?? col.name))
                  made[col.name] = old === undefined ? (col.def ?? null) : cast(row[old.name], old.kind, col.kind)
                }
                return [id, made]
              }),
            )
            const { from: _from, ...rest } = wanted
            now = { ...rest, cols: wanted.cols.map(({ from: _old, ...col }) => col) }
            expect((await store.apply([def()])).steps).toEqual([])
          }
          await check()
        }
        for (const { def: then, lsn, rows } of past.slice(-3))
          expect(await store.scan(then, { orderBy: 'id' as never, at: lsn as never }).toArray()).toEqual(rows)
        expect((await store.verify({ level: 'all' })).problems).toEqual([])
      } finally {
        await store.close()
      }
    }),
    { numRuns: Number(process.env['VARVE_RUNS'] ?? 60) },
  )
  expect(seen.applied).toBeGreaterThan(50)
  expect(seen.refused).toBeGreaterThan(20)
})
