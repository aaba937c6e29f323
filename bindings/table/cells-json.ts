// table/cells-json.ts: values of json columns: the text of JSON.stringify, once it is sure that it drops nothing (api.md section 1).
//
// Refused with the path to it: undefined, functions, symbols, bigints, NaN and infinities, cycles, and objects whose content is not in their
// own properties (Map, Set, buffers). toJSON() is honoured: its result is what is checked.
import { CellFault } from './cells.ts'

const DEPTH_MAX = 1000

/** The text to store for `value`, which is cell `index` of its column. */
export function jsonText(value: unknown, index: number): string {
  check(value, '', index, [])
  return JSON.stringify(value)
}

function check(given: unknown, path: string, index: number, above: object[]): void {
  let value = given
  if (typeof value === 'object' && value !== null && typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    value = (value as { toJSON(key: string): unknown }).toJSON('')
  }
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return
    case 'number':
      if (!Number.isFinite(value)) throw dropped(index, path, String(value))
      return
    case 'object':
      if (value === null) return
      break
    case 'bigint':
      throw dropped(index, path, `bigint ${value}n`)
    default:
      throw dropped(index, path, typeof value)
  }
  if (above.includes(value)) throw dropped(index, path, 'a cycle')
  if (above.length >= DEPTH_MAX) throw new CellFault(index, path, `json is nested more than ${DEPTH_MAX} deep`)
  above.push(value)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) check(value[i], `${path}[${i}]`, index, above)
  } else {
    if (hidesContent(value)) throw dropped(index, path, Object.prototype.toString.call(value).slice(8, -1))
    for (const name of Object.keys(value)) check((value as Record<string, unknown>)[name], `${path}.${name}`, index, above)
    for (const symbol of Object.getOwnPropertySymbols(value)) {
      if (Object.prototype.propertyIsEnumerable.call(value, symbol)) throw dropped(index, path, 'a symbol key')
    }
  }
  above.pop()
}

function hidesContent(value: object): boolean {
  if (ArrayBuffer.isView(value)) return true
  switch (Object.prototype.toString.call(value)) {
    case '[object Map]':
    case '[object Set]':
    case '[object WeakMap]':
    case '[object WeakSet]':
    case '[object ArrayBuffer]':
    case '[object SharedArrayBuffer]':
    case '[object Promise]':
    case '[object RegExp]':
    case '[object Error]':
      return true
    default:
      return false
  }
}

function dropped(index: number, path: string, what: string): CellFault {
  return new CellFault(index, path, `json cannot hold ${what}`)
}
