// A fragment with a column of every type, and the IPC stream of its rows, open in programs that know nothing of varve, with the values that were written:
// apache-arrow, flechette, and polars by path, by bytes and as a stream (where it is installed). LZ4 is decoded by the CLI's plain decoder or by polars' own.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as flechette from '@uwdata/flechette'
import { tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeLz4Frame, loadArrow } from '../../bindings/cli/formats/arrow-codecs.ts'
import { type AnyTable, Store, table } from '../../bindings/index.ts'
import { loadPolars, type Polars, type PolarsFrame } from '../arrow/polars.ts'
import { columnValues } from '../arrow/raw.ts'
import { everyRow, everyType } from '../unit/table/every-type.ts'

const ROWS = 3000
const SEED = 20_261_121
const { polars, reason } = await loadPolars()
/** The Node build of polars takes no file with an extension type in it: these two are looked at by the other readers. */
const EXTENSIONS = ['uuid', 'json']

type Row = Record<string, unknown>
const rows = fc.sample(everyRow, { numRuns: ROWS, seed: SEED }).map((row, i): Row => ({ ...row, id: BigInt(i) }))

interface Made {
  readonly path: string
  readonly fragment: Uint8Array
  readonly stream: Uint8Array
}
const folders: string[] = []

/** A table of some columns at rest, and as a stream. */
async function make(names: readonly string[]): Promise<Made> {
  const folder = mkdtempSync(join(tmpdir(), 'varve-engines-'))
  folders.push(folder)
  const target: AnyTable = table('every', Object.fromEntries(names.map((name) => [name, everyType.columns[name]!])))
  await using store = await Store.open(folder)
  await store.create(target)
  await store.append(target, rows.map((row) => Object.fromEntries(names.map((name) => [name, row[name]]))) as never)
  await store.flush()
  const files = readdirSync(join(folder, 'fragments'), { recursive: true }).map(String)
  const path = join(
    folder,
    'fragments',
    files.find((name) => name.endsWith('.arrow'))!,
  )
  return { path, fragment: new Uint8Array(readFileSync(path)), stream: await store.scan(target).toIpc() }
}

const dayOf = (text: unknown): number => Date.parse(`${text as string}T00:00:00Z`) / 86_400_000
const decimalOf = (text: unknown, scale: number): bigint => BigInt((text as string).replace('.', '')) + BigInt(scale) * 0n

/** Values of a row by column as flechette gives them: instants in milliseconds, decimals without their point. */
function asFlechette(name: string, value: unknown): unknown {
  if (name === 'json') return JSON.stringify(value)
  if (value === null) return null
  switch (name) {
    case 'asNumber':
      return BigInt(value as number)
    case 'seconds':
    case 'ms':
      return (value as Date).getTime()
    case 'us':
      return Number(value) / 1e3
    case 'ns':
      return Number(value) / 1e6
    case 'date':
      return dayOf(value) * 86_400_000
    case 'days':
      return (value as number) * 86_400_000
    case 'price':
      return decimalOf(value, 10)
    case 'struct':
      return { ...(value as Row), a: BigInt((value as Row)['a'] as number) }
    case 'structs':
      return (value as Row[]).map(({ x, y }) => ({ x, y: y === null ? null : decimalOf(y, 2) }))
    case 'uuid':
      return Uint8Array.from(Buffer.from((value as string).replaceAll('-', ''), 'hex'))
    default:
      return value
  }
}

/** As the buffers have them, in the forms of raw.ts. */
function asRaw(name: string, value: unknown): unknown {
  if (name === 'json') return JSON.stringify(value)
  if (value === null) return null
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  switch (name) {
    case 'seconds':
      return BigInt((value as Date).getTime() / 1000)
    case 'ms':
      return BigInt((value as Date).getTime())
    case 'us':
    case 'ns':
    case 'days':
      return value
    case 'date':
      return dayOf(value)
    case 'uuid':
      return (value as string).replaceAll('-', '')
    case 'struct': {
      const { a, b, c } = value as { a: number; b: string; c: { d: boolean } | null }
      return [
        ['a', BigInt(a)],
        ['b', b],
        ['c', c === null ? null : [['d', c.d]]],
      ]
    }
    case 'structs':
      return (value as Row[]).map(({ x, y }) => [
        ['x', x],
        ['y', y === null ? null : decimalOf(y, 2)],
      ])
    default:
      return asFlechette(name, value)
  }
}

/** Text that tells values apart: -0 from 0, bigint from number; typed arrays are their items. */
function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  if (ArrayBuffer.isView(value)) return show(Array.from(value as unknown as Iterable<unknown>))
  if (Array.isArray(value)) return `[${value.map(show).join()}]`
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([key, item]) => `${key}:${show(item)}`)
      .join()}}`
  return JSON.stringify(value)
}

/** flechette divides fine instants into milliseconds, which may round the last bit in another way; that they are exact is seen by the other readers. */
function isNear(name: string, found: unknown, wanted: unknown): boolean {
  if ((name !== 'us' && name !== 'ns') || typeof found !== 'number' || typeof wanted !== 'number') return false
  return Math.abs(found - wanted) <= Math.abs(wanted) * Number.EPSILON
}

function expectColumn(name: string, found: readonly unknown[], wanted: readonly unknown[]): void {
  expect(found.length, name).toBe(wanted.length)
  const wrong = wanted.findIndex((value, i) => show(found[i]) !== show(value) && !isNear(name, found[i], value))
  if (wrong >= 0) expect(show(found[wrong]), `${name} row ${wrong}`).toBe(show(wanted[wrong]))
}

function expectFlechette(bytes: Uint8Array, names: readonly string[], wanted: (name: string, value: unknown) => unknown = asFlechette): void {
  const read = flechette.tableFromIPC(bytes, { useBigInt: true, useDecimalInt: true })
  expect(read.numRows).toBe(ROWS)
  for (const name of names) {
    const expected = rows.map((row) => wanted(name, row[name]))
    expectColumn(name, Array.from(read.getChild(name) as Iterable<unknown>), expected)
  }
}

const every = Object.keys(everyType.columns)
const plain = every.filter((name) => !EXTENSIONS.includes(name))

describe('a column of every type opens in', () => {
  let whole: Made
  let forPolars: Made
  beforeAll(async () => {
    const nothing = (): never => expect.fail('nothing is written here')
    flechette.setCompressionCodec(flechette.CompressionType.LZ4_FRAME, { encode: nothing, decode: decodeLz4Frame })
    await loadArrow()
    whole = await make(every)
    forPolars = await make(plain)
  })
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })

  it.each(['fragment', 'stream'] as const)('apache-arrow, as a %s', (form) => {
    const read = tableFromIPC(whole[form])
    expect(read.numRows).toBe(ROWS)
    for (const name of every)
      expectColumn(
        name,
        columnValues(read, name),
        rows.map((row) => asRaw(name, row[name])),
      )
  })

  it.each(['fragment', 'stream'] as const)('flechette, as a %s', (form) => expectFlechette(whole[form], every))

  const ways: [string, (polars: Polars, made: Made) => PolarsFrame][] = [
    ['by its path (scanIPC)', (library, made) => library.scanIPC(made.path).collectSync()],
    ['by its bytes (readIPC)', (library, made) => library.readIPC(Buffer.from(made.fragment))],
    ['as a stream (readIPCStream)', (library, made) => library.readIPCStream(Buffer.from(made.stream))],
  ]
  it.for(ways)('polars %s', ([, read], { skip }) => {
    if (polars === undefined) return skip(reason)
    const frame = read(polars, forPolars)
    expect(frame.columns).toEqual(plain)
    expect(frame.height).toBe(ROWS)
    // What its client hands out: numbers, texts, booleans, lists.
    for (const name of [
      'bool',
      'i8',
      'i16',
      'i32',
      'u8',
      'u16',
      'u32',
      'f32',
      'f64',
      'text',
      'dict',
      'dictOrNull',
      'list',
      'lists',
      'fsl',
      'vector',
      'boolOrNull',
    ]) {
      expectColumn(
        name,
        frame.getColumn(name).toArray(),
        rows.map((row) => row[name]),
      )
    }
    // Its numbers are JavaScript's: wider ones as texts.
    const texts: Readonly<Record<string, (value: unknown) => unknown>> = {
      id: String,
      asNumber: String,
      u64: String,
      us: String,
      ns: String,
      clockNs: String,
      days: String,
      seconds: (value) => String((value as Date).getTime()),
      ms: (value) => String((value as Date).getTime()),
      clock: (value) => String(BigInt(value as number) * 1_000_000_000n),
    }
    for (const [name, textOf] of Object.entries(texts)) {
      const found = frame
        .getColumn(name)
        .cast(name === 'u64' ? polars.UInt64 : polars.Int64)
        .cast(polars.Utf8)
        .toArray()
      expectColumn(
        `${name} as text`,
        found,
        rows.map((row) => (row[name] === null ? null : textOf(row[name]))),
      )
    }
    expectColumn(
      'price as text',
      frame.getColumn('price').cast(polars.Utf8).toArray(),
      rows.map((row) => row['price']),
    )
    // Everything: written by polars again, and read by a third. Time of day is nanoseconds there.
    const back = new Uint8Array(frame.writeIPC({ compression: 'uncompressed' }))
    expectFlechette(back, plain, (name, value) => (name === 'clock' ? BigInt(value as number) * 1_000_000_000n : asFlechette(name, value)))
  })
})
