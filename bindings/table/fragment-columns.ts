// table/fragment-columns.ts: the physical form of a column inside one fragment (performance.md section 4, "Bytes per row").
//
// Strings and binary become dictionaries with the narrowest unsigned codes whenever they repeat: at most half as many values as rows. Everything else
// stays as declared. Invariant: the rows are those of the input; a dictionary holds exactly the values that occur, in first-seen order.
import type { ArrowField, ColumnDef } from '../format/index.ts'
import { codeWidth, concat, decodeDictionary, encodeDictionary, slice } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import { codesOf, isValid } from './vec-views.ts'

/** Columns shorter than this are not tried on a part first. */
const TRIAL_ROWS_MIN = 16_384
const TRIAL_SHARE = 8
const TRIAL_DISTINCT_MAX = 0.9

export interface PhysicalColumn {
  readonly field: ArrowField
  readonly vec: Vec
}

/** One column of a fragment from its parts. `dictionaryId`: its id in the file if it becomes a dictionary. */
export function physicalColumn(column: ColumnDef, parts: readonly Vec[], dictionaryId: number): PhysicalColumn {
  const { name, type, nullable } = column
  const metadata = { 'varve:id': String(column.id), 'varve:type': JSON.stringify(type) }
  const vec = physicalVec(concat(parts))
  const field = { name, type, nullable, metadata }
  if (vec.layout.kind !== 'dict') return { field, vec }
  return { field: { ...field, dictionary: { id: dictionaryId, width: vec.layout.width } }, vec }
}

function physicalVec(vec: Vec): Vec {
  const distinctMax = vec.length >> 1
  if (vec.layout.kind === 'dict') {
    const compact = compactDictionary(vec)
    return compact.dictionary!.length > distinctMax || compact.dictionary!.length === 0 ? decodeDictionary(compact) : compact
  }
  if (vec.layout.kind !== 'var' || distinctMax === 0 || vec.nullCount === vec.length) return vec
  if (vec.length >= TRIAL_ROWS_MIN) {
    const rows = Math.floor(vec.length / TRIAL_SHARE)
    if (encodeDictionary(slice(vec, 0, rows), Math.floor(rows * TRIAL_DISTINCT_MAX)) === undefined) return vec
  }
  return encodeDictionary(vec, distinctMax) ?? vec
}

/** Without the entries that no row uses; the narrowest codes. */
function compactDictionary(vec: Vec): Vec {
  const dictionary = vec.dictionary!
  const codes = codesOf(vec)
  const map = new Uint32Array(dictionary.length)
  const kept: number[] = []
  for (let i = 0; i < vec.length; i++) {
    if (vec.validity !== undefined && !isValid(vec, i)) continue
    const code = codes[i]!
    if (map[code] === 0) map[code] = kept.push(code)
  }
  const width = codeWidth(kept.length)
  if (vec.layout.kind === 'dict' && kept.length === dictionary.length && width === vec.layout.width && isIdentity(map)) return vec
  for (let code = 0; code < map.length; code++) if (map[code]! > 0) map[code]!--
  const to = width === 1 ? new Uint8Array(vec.length) : width === 2 ? new Uint16Array(vec.length) : new Uint32Array(vec.length)
  for (let i = 0; i < vec.length; i++) to[i] = map[codes[i]!]!
  return { ...vec, layout: { kind: 'dict', width }, values: new Uint8Array(to.buffer), dictionary: entries(dictionary, kept) }
}

/** map[code] holds the place + 1. */
function isIdentity(map: Uint32Array): boolean {
  for (let code = 0; code < map.length; code++) if (map[code] !== code + 1) return false
  return true
}

function entries(dictionary: Vec, kept: readonly number[]): Vec {
  const from = dictionary.offsets!
  const offsets = new Int32Array(kept.length + 1)
  kept.forEach((entry, i) => (offsets[i + 1] = offsets[i]! + from[entry + 1]! - from[entry]!))
  const values = new Uint8Array(offsets[kept.length]!)
  kept.forEach((entry, i) => values.set(dictionary.values.subarray(from[entry]!, from[entry + 1]!), offsets[i]!))
  return { layout: { kind: 'var' }, length: kept.length, nullCount: 0, validity: undefined, values, offsets, children: [], dictionary: undefined }
}
