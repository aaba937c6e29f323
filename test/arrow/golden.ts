// The golden files of Arrow's own integration tests: where they are, and their values as the JSON beside them has them (integration format of Arrow,
// docs "Integration Testing"). Nothing of varve takes part here.
//
// One value is: null, boolean, number (up to 32 bits, floats, days, time of 32 bits), bigint (64 bits, instants, unscaled decimals), string, hex text of
// bytes, array (lists), [name, value][] (structs). A map is a list of structs of key and value, whatever its writer called them.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

const shared = new URL('../../../shared/data/arrow-testing/data/', import.meta.url)
const kept = new URL('../data/arrow-testing/data/', import.meta.url)
/** Whether the whole set is there, not the few files that are kept in the tree. */
export const HAS_WHOLE_SET: boolean = existsSync(shared)
export const NOT_THERE = '../shared/data/arrow-testing is not there, only the few files kept in test/data'
const root = HAS_WHOLE_SET ? shared : kept

export type Value = null | boolean | number | bigint | string | readonly Value[] | readonly (readonly [string, Value])[]

export interface JsonField {
  readonly name: string
  readonly nullable: boolean
  readonly type: {
    readonly name: string
    readonly isSigned: boolean
    readonly bitWidth: number
    readonly unit: string
    readonly timezone?: string
    readonly listSize: number
  }
  readonly children: readonly JsonField[]
  readonly dictionary?: { readonly id: number }
}
interface JsonColumn {
  readonly name: string
  readonly count: number
  readonly VALIDITY?: readonly number[]
  readonly DATA?: readonly (string | number | boolean)[]
  readonly OFFSET?: readonly (string | number)[]
  readonly children?: readonly JsonColumn[]
}
interface JsonFile {
  readonly schema: { readonly fields: readonly JsonField[] }
  readonly batches: readonly { readonly count: number; readonly columns: readonly JsonColumn[] }[]
  readonly dictionaries?: readonly { readonly id: number; readonly data: { readonly columns: readonly JsonColumn[] } }[]
}

export interface Golden {
  /** `1.0.0-littleendian/generated_null`. */
  readonly name: string
  readonly file: Uint8Array
  readonly stream: Uint8Array
  readonly fields: readonly JsonField[]
  readonly rows: number
  /** Values of column `index`, all batches one after the other. */
  readonly values: (index: number) => Value[]
}

const folder = new URL('arrow-ipc-stream/integration/', root)

export const GOLDEN: readonly string[] = readdirSync(folder).flatMap((sub) =>
  readdirSync(new URL(`${sub}/`, folder))
    .filter((name) => name.endsWith('.json.gz'))
    .map((name) => `${sub}/${name.slice(0, -'.json.gz'.length)}`),
)

export function golden(name: string): Golden {
  const bytes = (extension: string): Uint8Array => new Uint8Array(readFileSync(new URL(`${name}.${extension}`, folder)))
  const json = JSON.parse(gunzipSync(bytes('json.gz')).toString()) as JsonFile
  const { fields } = json.schema
  return {
    name,
    file: bytes('arrow_file'),
    stream: bytes('stream'),
    fields,
    rows: json.batches.reduce((sum, batch) => sum + batch.count, 0),
    values: (index) =>
      json.batches.flatMap((batch) => Array.from({ length: batch.count }, (_, row) => valueOf(json, fields[index]!, batch.columns[index]!, row))),
  }
}

/** Inputs that broke other readers, by name; none where the whole set is not there. */
export function fuzzCorpus(): { readonly name: string; readonly bytes: Uint8Array }[] {
  return ['arrow-ipc-file/', 'arrow-ipc-stream/'].flatMap((sub) => {
    const at = new URL(sub, shared)
    if (!existsSync(at)) return []
    const files = readdirSync(at, { withFileTypes: true }).filter((entry) => entry.isFile())
    return files.map((entry) => ({ name: sub + entry.name, bytes: new Uint8Array(readFileSync(new URL(entry.name, at))) }))
  })
}

function valueOf(json: JsonFile, field: JsonField, column: JsonColumn, row: number): Value {
  const { type } = field
  if (type.name === 'null' || (column.VALIDITY !== undefined && column.VALIDITY[row] === 0)) return null
  if (field.dictionary !== undefined) {
    const { id } = field.dictionary
    const dictionary = json.dictionaries!.find((one) => one.id === id)!
    const { dictionary: _, ...plain } = field
    return valueOf(json, plain, dictionary.data.columns[0]!, Number(column.DATA![row]))
  }
  const items = (start: number, end: number): Value[] =>
    Array.from({ length: end - start }, (_, i) => valueOf(json, field.children[0]!, column.children![0]!, start + i))
  const value = column.DATA?.[row]
  switch (type.name) {
    case 'bool':
      return Boolean(value)
    case 'int':
    case 'time':
      return type.bitWidth === 64 ? BigInt(value!) : Number(value)
    case 'date':
      return type.unit === 'DAY' ? Number(value) : BigInt(value!)
    case 'timestamp':
    case 'decimal':
      return BigInt(value!)
    case 'floatingpoint':
      return Number(value)
    case 'utf8':
    case 'largeutf8':
      return String(value)
    case 'binary':
    case 'largebinary':
    case 'fixedsizebinary':
      return String(value).toLowerCase()
    case 'list':
    case 'largelist':
      return items(Number(column.OFFSET![row]), Number(column.OFFSET![row + 1]))
    case 'map': {
      const [key, value] = field.children[0]!.children
      const pair = {
        ...field.children[0]!,
        children: [
          { ...key!, name: 'key' },
          { ...value!, name: 'value' },
        ],
      }
      const from = Number(column.OFFSET![row])
      return Array.from({ length: Number(column.OFFSET![row + 1]) - from }, (_, i) => valueOf(json, pair, column.children![0]!, from + i))
    }
    case 'fixedsizelist':
      return items(row * type.listSize, (row + 1) * type.listSize)
    case 'struct':
      return field.children.map((child, i) => [child.name, valueOf(json, child, column.children![i]!, row)] as const)
    default:
      throw new Error(`a golden value of type ${type.name}`)
  }
}
