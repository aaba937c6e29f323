import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as arrow from 'apache-arrow'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SchemaMismatchError } from '../../../bindings/errors.ts'
import type { ColumnBatch } from '../../../bindings/table/batch.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { rowReader } from '../../../bindings/table/rows-out.ts'
import { toBatches } from '../../../bindings/table/stream-in.ts'
import type { Columns } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'
import { viewOf } from './every-type.ts'

const shared = new URL('../../../../shared/data/arrow-testing/data/', import.meta.url)
const root = existsSync(shared) ? shared : new URL('../../data/arrow-testing/data/', import.meta.url)

async function readAll(view: TableView, data: unknown, targetRows = 5): Promise<Record<string, unknown>[]> {
  const read = rowReader(view.columns)
  const rows: Record<string, unknown>[] = []
  for await (const batch of toBatches(view, data, { targetRows }) as AsyncIterable<ColumnBatch>) {
    for (let i = 0; i < batch.length; i++) rows.push(read(batch.columns, i))
  }
  return rows
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}

// The JSON integration format of Arrow.
interface JsonField {
  name: string
  nullable: boolean
  type: { name: string; isSigned: boolean; bitWidth: number; precision: string & number; scale: number; unit: string; byteWidth: number; listSize: number }
  children: JsonField[]
  dictionary?: { id: number }
}
interface JsonColumn {
  name: string
  count: number
  VALIDITY?: number[]
  DATA?: (string | number)[]
  OFFSET?: (string | number)[]
  children?: JsonColumn[]
}
interface JsonFile {
  schema: { fields: JsonField[] }
  batches: { count: number; columns: JsonColumn[] }[]
  dictionaries?: { id: number; data: { columns: JsonColumn[] } }[]
}

const UNITS: Readonly<Record<string, 's' | 'ms' | 'us' | 'ns'>> = { SECOND: 's', MILLISECOND: 'ms', MICROSECOND: 'us', NANOSECOND: 'ns' }

/** Undefined: a type that no column has. */
function columnOf(field: JsonField): any {
  const column = plainColumn(field)
  return column === undefined || !(field.nullable || field.type.name === 'null') ? column : column.nullable()
}

function plainColumn({ type, children }: JsonField): any {
  switch (type.name) {
    case 'int':
      return (t as any)[`${type.isSigned ? '' : 'u'}int${type.bitWidth}`]()
    case 'floatingpoint':
      return type.precision === 'DOUBLE' ? t.float64() : t.float32()
    case 'bool':
      return t.bool()
    case 'utf8':
    case 'largeutf8':
      return t.utf8()
    case 'binary':
    case 'largebinary':
      return t.binary()
    case 'fixedsizebinary':
      return t.fixedSizeBinary(type.byteWidth)
    case 'date':
      return type.unit === 'DAY' ? t.date({ as: 'number' }) : t.timestamp('ms', { as: 'number' })
    case 'time':
      return t.time(UNITS[type.unit] as 's')
    case 'timestamp':
      return t.timestamp(UNITS[type.unit]!, { as: 'bigint' })
    case 'decimal':
      return t.decimal128(type.precision, type.scale)
    case 'null':
      return t.int8()
    case 'list':
    case 'largelist': {
      const item = columnOf(children[0]!)
      return item && t.list(item)
    }
    case 'fixedsizelist': {
      const item = columnOf(children[0]!)
      return item && t.fixedSizeList(type.listSize, item)
    }
    case 'struct': {
      const fields = children.map((child) => [child.name, columnOf(child)] as const)
      return fields.every(([name, column]) => name !== '' && column !== undefined) ? t.struct(Object.fromEntries(fields)) : undefined
    }
    default:
      return undefined
  }
}

/** The value that a row should have. */
function expected(field: JsonField, column: JsonColumn, row: number, file: JsonFile): unknown {
  const { type } = field
  if (type.name === 'null' || (column.VALIDITY !== undefined && column.VALIDITY[row] === 0)) return null
  if (field.dictionary !== undefined) {
    const dictionary = file.dictionaries!.find(({ id }) => id === field.dictionary!.id)!
    return expected({ ...field, dictionary: undefined } as never, dictionary.data.columns[0]!, Number(column.DATA![row]), file)
  }
  const items = (start: number, end: number): unknown[] =>
    Array.from({ length: end - start }, (_, i) => expected(field.children[0]!, column.children![0]!, start + i, file))
  const value = column.DATA?.[row]
  switch (type.name) {
    case 'bool':
      return Boolean(value)
    case 'int':
      return type.bitWidth === 64 ? BigInt(value!) : value
    case 'timestamp':
      return BigInt(value!)
    case 'time':
      return type.bitWidth === 64 ? BigInt(value!) : value
    case 'date':
      return Number(value)
    case 'binary':
    case 'largebinary':
    case 'fixedsizebinary':
      return new Uint8Array(Buffer.from(String(value), 'hex'))
    case 'decimal': {
      const digits = String(value)
        .replace('-', '')
        .padStart(type.scale + 1, '0')
      const sign = String(value).startsWith('-') ? '-' : ''
      return type.scale === 0 ? sign + digits : `${sign}${digits.slice(0, -type.scale)}.${digits.slice(-type.scale)}`
    }
    case 'floatingpoint':
      // The JSON has three digits.
      return expect.closeTo(Number(value), 2)
    case 'list':
    case 'largelist':
      return items(Number(column.OFFSET![row]), Number(column.OFFSET![row + 1]))
    case 'fixedsizelist':
      return items(row * type.listSize, (row + 1) * type.listSize)
    case 'struct':
      return Object.fromEntries(field.children.map((child, i) => [child.name, expected(child, column.children![i]!, row, file)]))
    default:
      return value
  }
}

const folder = new URL('arrow-ipc-stream/integration/', root)
const golden = readdirSync(folder).flatMap((sub) =>
  readdirSync(new URL(`${sub}/`, folder))
    .filter((name) => name.endsWith('.json.gz'))
    .map((name) => `${sub}/${name.slice(0, -'.json.gz'.length)}`),
)

describe('golden files of Arrow', () => {
  it('are there', () => expect(golden.length).toBeGreaterThanOrEqual(5))

  it.each(golden)('%s', async (name) => {
    const file = JSON.parse(gunzipSync(readFileSync(new URL(`${name}.json.gz`, folder))).toString()) as JsonFile
    const columns = file.schema.fields.map((field) => [field.name, columnOf(field)] as const)
    const legal = new Set(columns.map(([column]) => column)).size === columns.length && columns.every(([column, made]) => column !== '' && made !== undefined)
    const view = viewOf(table('golden', (legal ? Object.fromEntries(columns) : { other: t.int8() }) as Columns))
    const rows = file.batches.flatMap((batch) =>
      Array.from({ length: batch.count }, (_, row) =>
        Object.fromEntries(file.schema.fields.map((field, c) => [field.name, expected(field, batch.columns[c]!, row, file)])),
      ),
    )
    for (const extension of ['stream', 'arrow_file']) {
      const bytes = new Uint8Array(readFileSync(new URL(`${name}.${extension}`, folder)))
      if (!legal) {
        await expect(readAll(view, bytes)).rejects.toThrow(SchemaMismatchError)
        continue
      }
      expect(await readAll(view, bytes)).toEqual(rows)
      expect(await readAll(view, inPieces(bytes, 333))).toEqual(rows)
    }
  })
})

describe('bytes that are damaged or no Arrow', () => {
  const view = viewOf(table('t', { a: t.int32().nullable(), s: t.utf8().dictionary().nullable(), l: t.list(t.utf8().nullable()).nullable() }))
  const data = arrow.tableFromArrays({ a: Int32Array.of(1, 2, 3) })
  const good = arrow.tableToIPC(
    new arrow.Table({
      a: data.getChild('a')!,
      s: arrow.vectorFromArray(['x', null, 'y'], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())),
      l: arrow.vectorFromArray([['p', null], [], null], new arrow.List(new arrow.Field('item', new arrow.Utf8(), true))),
    } as never),
    'stream',
  )

  it.each([
    ['nothing', new Uint8Array(0), 't: the bytes are not readable Arrow IPC: no bytes at byte 0'],
    ['text', new TextEncoder().encode('id,delay\n1,2\n3,4\n'), 't: the bytes are not readable Arrow IPC: '],
    ['zeros', new Uint8Array(64), 't: the bytes are not readable Arrow IPC: a stream without schema'],
    ['a length beyond the end', Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 15, 0, 0), 't: the bytes are not readable Arrow IPC: a message of'],
    ['a file without footer', new TextEncoder().encode('ARROW1\0\0'), 't: the bytes are not readable Arrow IPC: '],
  ])('refuses %s', async (_name, bytes, message) => {
    await expect(readAll(view, bytes)).rejects.toThrow(SchemaMismatchError)
    await expect(readAll(view, bytes)).rejects.toThrow(message)
    await expect(readAll(view, inPieces(bytes, 3)))
      .rejects.toThrow(bytes.length === 0 ? /^$/ : SchemaMismatchError)
      .catch((error: unknown) => {
        // A stream of no chunks is a stream of no rows.
        if (bytes.length > 0) throw error
      })
  })

  it('reads several streams one after another', async () => {
    const twice = new Uint8Array(good.length * 2)
    twice.set(good)
    twice.set(good, good.length)
    expect(await readAll(view, twice)).toHaveLength(6)
    expect(await readAll(view, inPieces(twice, 11))).toHaveLength(6)
  })

  it('refuses a stream cut anywhere but between two messages', async () => {
    const whole = await readAll(view, good)
    for (let end = 0; end < good.length; end += 3) {
      const rows = await readAll(view, good.subarray(0, end)).catch((error: unknown) => {
        expect(error).toBeInstanceOf(SchemaMismatchError)
        return undefined
      })
      if (rows !== undefined) expect(whole.slice(0, rows.length)).toEqual(rows)
    }
  })

  it('never fails in another way, whatever the bytes', async () => {
    const change = fc.record({ at: fc.nat(), byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 127, 128, 255)) })
    const file = arrow.tableToIPC(arrow.tableFromIPC(good), 'file')
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), fc.boolean(), async (changes, asFile, pieces) => {
        const bytes = (asFile ? file : good).slice()
        for (const { at, byte } of changes) bytes[at % bytes.length] = byte
        try {
          await readAll(view, pieces ? inPieces(bytes, 100) : bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(SchemaMismatchError)
        }
      }),
      { numRuns: 600 },
    )
  })

  const fuzzed = ['arrow-ipc-file/', 'arrow-ipc-stream/'].flatMap((sub) => {
    const at = new URL(sub, root)
    return existsSync(at) ? readdirSync(at, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [new URL(entry.name, at)] : [])) : []
  })
  it.runIf(fuzzed.length > 0)('survives inputs that broke other readers', async () => {
    for (const url of fuzzed) {
      const bytes = new Uint8Array(readFileSync(url))
      for (const data of [bytes, inPieces(bytes, 1000)]) {
        await readAll(view, data).catch((error: unknown) => expect(error).toBeInstanceOf(SchemaMismatchError))
      }
    }
  })

  it('names a column that is not in the table before it reads any data', async () => {
    const other = arrow.tableToIPC(arrow.tableFromArrays({ aa: Int32Array.of(1) }), 'stream')
    await expect(readAll(view, other)).rejects.toThrow('t: no column "aa"; did you mean "a"?')
  })
})
