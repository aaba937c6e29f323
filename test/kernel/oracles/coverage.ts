// test/kernel/oracles/coverage.ts: the VCOV file (kernels.md section 7) written row by row, and its parts put together by hand for hostile files.
import { xxh3BigInt } from '../../../bindings/kernels/index.ts'

const CONTAINER_ROWS = 65_536

export interface Part {
  readonly key: number
  readonly kind: number
  readonly count: number
  readonly data: Uint8Array
}

/** The file of rows given in order, each once. */
export function plainCoverage(rows: readonly number[]): Uint8Array {
  const byKey = new Map<number, number[]>()
  for (const row of rows) {
    const key = Math.floor(row / CONTAINER_ROWS)
    const low = row % CONTAINER_ROWS
    const list = byKey.get(key)
    if (list === undefined) byKey.set(key, [low])
    else list.push(low)
  }
  return coverageFile([...byKey].map(([key, lows]) => plainContainer(key, lows)))
}

function plainContainer(key: number, rows: readonly number[]): Part {
  const runs: [number, number][] = []
  for (const row of rows) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] === row) last[1]++
    else runs.push([row, 1])
  }
  const sizes = { runs: 4 * runs.length, array: 2 * rows.length, bitmap: 8192 }
  const smallest = Math.min(sizes.runs, sizes.array, sizes.bitmap)
  if (sizes.runs === smallest) return { key, kind: 2, count: runs.length, data: u16s(runs.flatMap(([start, length]) => [start, length - 1])) }
  if (sizes.array === smallest) return { key, kind: 0, count: rows.length, data: u16s(rows) }
  const data = new Uint8Array(8192)
  for (const row of rows) data[row >> 3]! |= 1 << (row & 7)
  return { key, kind: 1, count: rows.length, data }
}

export function u16s(values: readonly number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((value) => [value & 0xff, value >> 8]))
}

/** Containers as given, right or wrong, with a check that holds. `containers` is what the header says of their number. */
export function coverageFile(parts: readonly Part[], containers: number = parts.length, behind: number = 0): Uint8Array {
  const bytes = new Uint8Array(12 + parts.reduce((sum, { data }) => sum + 8 + data.length, 0) + behind + 8)
  const view = new DataView(bytes.buffer)
  bytes.set([0x56, 0x43, 0x4f, 0x56])
  view.setUint32(4, 1, true)
  view.setUint32(8, containers, true)
  let at = 12
  for (const { key, kind, count, data } of parts) {
    view.setUint32(at, key, true)
    view.setUint16(at + 4, kind, true)
    view.setUint16(at + 6, count - 1, true)
    bytes.set(data, at + 8)
    at += 8 + data.length
  }
  return sealCoverage(bytes)
}

/** Puts the check in place. */
export function sealCoverage(bytes: Uint8Array): Uint8Array {
  const end = bytes.length - 8
  new DataView(bytes.buffer).setBigUint64(end, xxh3BigInt(bytes.subarray(0, end)), true)
  return bytes
}
