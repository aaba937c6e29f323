// Every golden file and stream of Arrow's own integration tests goes through a store and comes out with the values that its JSON has, or is refused by name.
import * as flechette from '@uwdata/flechette'
import { tableFromIPC, type Table as LibraryTable } from 'apache-arrow'
import { describe, expect, it } from 'vitest'
import { type AnyTable, type ArrowLike, columnsFromArrow, type ReadStore, SchemaMismatchError, Store, t, table, VarveError } from '../../bindings/index.ts'
import { type Golden, GOLDEN, golden, HAS_WHOLE_SET, type JsonField, NOT_THERE, type Value } from './golden.ts'
import { columnValues } from './raw.ts'

/** Golden files that no table takes, and what is said. The types are those of docs/format.md, "Arrow types". */
const REFUSED: Readonly<Record<string, { code: string; message: string }>> = {
  '1.0.0-littleendian/generated_duplicate_fieldnames': { code: 'options.name', message: 'columnsFromArrow: column "ints" is there twice' },
  '1.0.0-littleendian/generated_interval': {
    code: 'table.unsupported-type',
    message: 'columnsFromArrow: column "f1": no column takes Arrow duration without loss',
  },
  '1.0.0-littleendian/generated_union': {
    code: 'table.unsupported-type',
    message: 'columnsFromArrow: column "sparse": no column takes Arrow union without loss',
  },
}
/** Values outside their own type: Arrow may bring them, while a transaction holds rows, whose values are checked one by one. */
const BEYOND_TYPE: Readonly<Record<string, string>> = {
  '1.0.0-littleendian/generated_datetime': 'golden.f2 row 8: 86400 is outside time[s] (0..86399)',
  '1.0.0-littleendian/generated_decimal': 'golden.f0 row 0: 128.10 is outside decimal128(3, 2)',
}
const taken = GOLDEN.filter((name) => REFUSED[name] === undefined)

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}

const LIBRARIES = ['apache-arrow', 'flechette']

/** Ways into a store. Undefined: the library does not read the file; without codecs, compressed bodies. */
const routes: Readonly<Record<string, (store: Store, target: AnyTable, bytes: Uint8Array) => Promise<unknown> | undefined>> = {
  bytes: (store, target, bytes) => store.append(target, bytes as never),
  pieces: (store, target, bytes) => store.append(target, inPieces(bytes, 333) as never),
  transaction: (store, target, bytes) => store.transact((tx) => void tx.append(target, bytes as never)),
  'apache-arrow': (store, target, bytes) => throughLibrary(store, target, () => tableFromIPC(bytes)),
  flechette: (store, target, bytes) => throughLibrary(store, target, () => flechette.tableFromIPC(bytes)),
}

function throughLibrary(store: Store, target: AnyTable, read: () => unknown): Promise<unknown> | undefined {
  let made: ArrowLike
  try {
    made = read() as ArrowLike
  } catch {
    return undefined
  }
  // What one derives from the library's schema is what one derives from the bytes.
  expect(table('golden', columnsFromArrow(made))).toEqual(target)
  return store.append(target, made as never)
}

/** Floats have three digits in the JSON. */
function same(found: Value, wanted: Value, field: JsonField): boolean {
  if (wanted === null || found === null) return found === wanted
  if (field.type.name === 'floatingpoint') return Math.abs((found as number) - (wanted as number)) <= 0.0006
  if (!Array.isArray(wanted)) return found === wanted
  if (!Array.isArray(found) || found.length !== wanted.length) return false
  if (field.type.name !== 'struct') return wanted.every((item, i) => same(found[i] as Value, item as Value, field.children[0]!))
  return (wanted as [string, Value][]).every(([name, value], i) => {
    const [foundName, foundValue] = found[i] as [string, Value]
    return name === foundName && same(foundValue, value, field.children[i]!)
  })
}

function expectValues(found: LibraryTable, wanted: Golden): void {
  expect(found.numRows).toBe(wanted.rows)
  expect(found.schema.fields.map((field) => [field.name, field.nullable])).toEqual(wanted.fields.map(({ name, nullable }) => [name, nullable]))
  for (const [index, field] of wanted.fields.entries()) {
    const values = columnValues(found, field.name)
    const right = wanted.values(index)
    const wrong = right.findIndex((value, row) => !same(values[row]!, value, field))
    expect(values.length).toBe(right.length)
    if (wrong >= 0) expect(values[wrong], `${field.name} row ${wrong}`).toEqual(right[wrong])
    expect(wrong).toBe(-1)
  }
}

async function expectOut(store: ReadStore, target: AnyTable, wanted: Golden): Promise<void> {
  const scan = store.scan(target)
  expectValues((await scan.toArrow()) as unknown as LibraryTable, wanted)
  expectValues(tableFromIPC(await scan.toIpc()), wanted)
}

describe('golden files of Arrow', () => {
  it('are all there: 23, of which 20 are taken', ({ skip }) => {
    if (!HAS_WHOLE_SET) skip(NOT_THERE)
    expect([GOLDEN.length, taken.length]).toEqual([23, 20])
  })

  it.each(taken)('%s comes back with the values of its JSON', async (name) => {
    const wanted = golden(name)
    for (const bytes of [wanted.file, wanted.stream]) {
      const target = table('golden', columnsFromArrow(bytes))
      const byLibrary: string[] = []
      for (const [route, append] of Object.entries(routes)) {
        await using store = await Store.open('memory:')
        await store.create(target)
        const done = append(store, target, bytes)
        if (done === undefined) continue
        const beyond = route === 'transaction' ? BEYOND_TYPE[name] : undefined
        if (beyond !== undefined) {
          await expect(done).rejects.toThrow(SchemaMismatchError)
          await expect(done).rejects.toThrow(beyond)
          continue
        }
        await done
        if (LIBRARIES.includes(route)) byLibrary.push(route)
        await expectOut(store, target, wanted)
        // From fragments too, not only from the memory layer.
        await store.flush()
        await expectOut(store, target, wanted)
      }
      expect(byLibrary, 'libraries that read the file').toEqual(/_lz4|_zstd/.test(name) ? [] : LIBRARIES)
    }
  })

  it.each(Object.entries(REFUSED).filter(([name]) => GOLDEN.includes(name)))('%s is refused by name', async (name, { code, message }) => {
    const { file, stream } = golden(name)
    for (const bytes of [file, stream]) {
      const refusal = (): unknown => columnsFromArrow(bytes)
      expect(refusal).toThrow(VarveError)
      expect(refusal).toThrow(expect.objectContaining({ code, message }))
    }
  })

  it('whose types have no place say so to a table that has the columns', async ({ skip }) => {
    if (!HAS_WHOLE_SET) skip(NOT_THERE)
    const { stream } = golden('1.0.0-littleendian/generated_interval')
    await using store = await Store.open('memory:')
    const target = table('golden', Object.fromEntries([1, 2, 3, 4, 5, 6].map((n) => [`f${n}`, t.int64().nullable()])))
    await store.create(target)
    const append = store.append(target, stream)
    await expect(append).rejects.toThrow(SchemaMismatchError)
    await expect(append).rejects.toThrow('golden.f1: Arrow duration cannot become int64')
  })
})
