// What came of the cells of the storage-fault matrix, as a table for the test output and as the lines of the golden file.
//
// A golden line is a kind of write and a call: which faults of that call led to which results, and where. Faults of one result stand together, and so do places.
import type { RootMethod } from '../../bindings/testing/index.ts'
import type { Cell, Found } from './fault-cell.ts'
import { PLACES, type Place } from './fault-ground.ts'

const LETTERS: Readonly<Record<Place, string>> = {
  'segments on disk': 'S',
  'segments in memory': 's',
  'slots on disk': 'L',
  'slots in memory': 'l',
  'slots in an object store': 'o',
}

export class Summary {
  cells = 0
  /** Result by kind and call, then fault, then place. */
  private readonly lines = new Map<string, Map<string, Map<string, Set<Place>>>>()
  private readonly table = new Map<string, Map<string, Map<string, number>>>()
  private readonly told = new Map<string, number>()
  private readonly states = new Map<string, number>()

  add({ kind, place, fault }: Cell, method: RootMethod, { call, told, state }: Found): void {
    this.cells++
    const line = at(this.lines, `${kind.name} | ${call}`, () => new Map<string, Map<string, Set<Place>>>())
    at(
      at(line, fault.name, () => new Map<string, Set<Place>>()),
      `${told}: ${state}`,
      () => new Set<Place>(),
    ).add(place)
    const short = / of /.test(state) ? 'part' : state
    count(
      at(
        at(this.table, kind.name, () => new Map<string, Map<string, number>>()),
        method,
        () => new Map<string, number>(),
      ),
      short,
    )
    count(this.told, told.split(' ')[0]!)
    count(this.states, short)
  }

  toString(): string {
    const methods = [...new Set([...this.table.values()].flatMap((row) => [...row.keys()]))].sort()
    const rows = [['kind of write', ...methods], ...[...this.table].map(([kind, row]) => [kind, ...methods.map((method) => countsOf(row.get(method)))])]
    const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
    const text = rows.map((row) =>
      row
        .map((each, i) => each.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    const legend = 'b as before, a as after, p some of several commits, s sealed, = no rows to tell by'
    return [...text, legend, `${this.cells} cells: ${list(this.states)}; told: ${list(this.told)}`].join('\n')
  }

  /** @param wanted  which kinds; default all */
  golden(wanted: (kind: string) => boolean = () => true): string {
    const out: string[] = []
    for (const [line, faults] of [...this.lines].sort(byName)) {
      if (!wanted(line.split(' | ')[0]!)) continue
      const groups = new Map<string, string[]>()
      for (const [fault, results] of faults) {
        const text = [...results]
          .map(
            ([result, places]) =>
              `${result} [${PLACES.filter((place) => places.has(place))
                .map((place) => LETTERS[place])
                .join('')}]`,
          )
          .sort()
          .join(' or ')
        at(groups, text, () => []).push(fault)
      }
      out.push(line, ...[...groups].map(([text, names]) => `  ${names.join(' / ')} -> ${text}`).sort())
    }
    return `${out.join('\n')}\n`
  }
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)
const SHORT: Readonly<Record<string, string>> = { before: 'b', after: 'a', part: 'p', sealed: 's', same: '=' }

function countsOf(counts: ReadonlyMap<string, number> | undefined): string {
  return counts === undefined
    ? ''
    : [...counts]
        .sort(byName)
        .map(([state, n]) => `${n}${SHORT[state]}`)
        .join(' ')
}

function list(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([what, n]) => `${n} ${what}`)
    .join(', ')
}

function at<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let found = map.get(key)
  if (found === undefined) map.set(key, (found = make()))
  return found
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1)
}
