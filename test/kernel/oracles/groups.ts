// test/kernel/oracles/groups.ts: grouping and aggregating the plain way: a Map of texts, lists of cells, one loop per question.
import type { Cell } from '../value-model.ts'

/** Groups of rows by the texts of their keys, in first-seen order: the rows of each, in row order. */
export function groupedRows(keys: readonly (readonly Cell[])[], counts: (row: number) => boolean): number[][] {
  const groups = new Map<string, number[]>()
  for (const [row, key] of keys.entries()) {
    if (!counts(row)) continue
    const text = key.map(keyText).join('|')
    const found = groups.get(text)
    if (found === undefined) groups.set(text, [row])
    else found.push(row)
  }
  return [...groups.values()]
}

/** Equal exactly for cells of one group: -0 is 0, every NaN is one value, null is a value. */
export function keyText(cell: Cell): string {
  if (cell === null) return 'null'
  if (cell instanceof Uint8Array) return Buffer.from(cell).toString('hex')
  return String(cell === 0 ? 0 : cell)
}

export function sumOf(cells: readonly Cell[]): bigint {
  let sum = 0n
  for (const cell of cells) if (cell !== null) sum += BigInt(cell as number | bigint)
  return sum
}

/** The least or greatest cell; null and NaN are skipped, of equal ones the first counts. */
export function extremeOf(cells: readonly Cell[], which: 'min' | 'max'): Cell {
  let best: Cell = null
  for (const cell of cells) {
    if (cell === null || Number.isNaN(cell)) continue
    if (best === null || (which === 'min' ? less(cell, best) : less(best, cell))) best = cell
  }
  return best
}

function less(a: Exclude<Cell, null>, b: Exclude<Cell, null>): boolean {
  return a instanceof Uint8Array ? Buffer.compare(a, b as Uint8Array) < 0 : a < b
}

const RUN = 128

/** Runs of 128 one by one; equal numbers of runs are joined first, as a binary counter carries. */
export class PairwiseSum {
  #run = 0
  #count = 0
  readonly #levels: number[] = []

  add(value: number): void {
    this.#run += value
    if (++this.#count % RUN !== 0) return
    let sum = this.#run
    let full = this.#count / RUN - 1
    let level = 0
    for (; full % 2 === 1; full = (full - 1) / 2, level++) sum = this.#levels[level]! + sum
    this.#levels[level] = sum
    this.#run = 0
  }

  get sum(): number {
    let sum = this.#run
    let full = Math.floor(this.#count / RUN)
    for (let level = 0; full > 0; level++, full = Math.floor(full / 2)) if (full % 2 === 1) sum = this.#levels[level]! + sum
    return sum
  }
}

export function pairwise(cells: readonly Cell[]): number {
  const sum = new PairwiseSum()
  for (const cell of cells) if (cell !== null) sum.add(cell as number)
  return sum.sum
}
