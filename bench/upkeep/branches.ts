// bench/upkeep/branches.ts: what branches cost: an open of a store that has ten thousand beside one that has one; making one beside a small commit; the first use.
import { Store, t, table } from '../../bindings/index.ts'
import { freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'

const BRANCHES = 10_000
/** Rows of main, so that an open has something else to do too. */
const ROWS = 100_000
const AT_ONCE = 256

const events = table('events', { id: t.int32(), text: t.utf8() }, { key: ['id'] })

export async function branches(suite: FigureSuite): Promise<void> {
  const one = await filled(1)
  const many = await filled(BRANCHES)
  await opens(suite, one, many)
  await making(suite, many)
}

async function filled(count: number): Promise<string> {
  const folder = freshFolder()
  const store = await Store.open(folder)
  await store.create(events)
  const rows = function* (): Generator<{ id: number; text: string }> {
    for (let id = 0; id < ROWS; id++) yield { id, text: `event ${id}` }
  }
  await store.append(events, rows())
  for (let from = 0; from < count; from += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => store.branch(`team/branch-${from + i}`)))
  }
  // With a checkpoint, as every store has that upkeep works on.
  await store.flush()
  await store.close()
  return folder
}

/** Open and close in turns, the first of a round changing. */
async function opens(suite: FigureSuite, one: string, many: string): Promise<void> {
  const times: Record<string, number[]> = { one: [], many: [] }
  const ratios: number[] = []
  const opened = async (name: string, folder: string): Promise<number> => {
    settleDisk()
    const started = performance.now()
    const store = await Store.open(folder)
    const ms = performance.now() - started
    await store.close()
    times[name]!.push(ms)
    return ms
  }
  for (let round = 0; round < suite.rounds * 6; round++) {
    const found: Record<string, number> = {}
    const runs = [async () => (found['one'] = await opened('one', one)), async () => (found['many'] = await opened('many', many))]
    for (const run of round % 2 === 0 ? runs : runs.toReversed()) await run()
    ratios.push(found['many']! / found['one']!)
  }
  // A shared machine disturbs an open by several times its length: the quickest tenth says what it costs.
  const quick = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 10)]!
  for (const [name, values] of Object.entries(times)) {
    suite.fact(`branch.open.${name === 'one' ? 1 : BRANCHES}`, `${rounded(quick(values))} ms (median ${rounded(medianOf(values))})`)
  }
  suite.fact('branch.open.ratio', `${rounded(quick(times['many']!) / quick(times['one']!))} (median of pairs ${rounded(medianOf(ratios))})`)
}

/** One after the other, each beside a commit of one row. */
async function making(suite: FigureSuite, folder: string): Promise<void> {
  const store = await Store.open(folder)
  const beyond: number[] = []
  const commits: number[] = []
  const first: number[] = []
  for (let round = 0; round < suite.rounds * 40; round++) {
    const timed = async (work: () => Promise<unknown>): Promise<number> => {
      const started = performance.now()
      await work()
      return performance.now() - started
    }
    let commit = 0
    let made = 0
    const runs = [
      async () => (commit = await timed(() => store.upsert(events, { id: round, text: 'again' }))),
      async () => (made = await timed(() => store.branch(`made/${round}`, { create: 'must' }))),
    ]
    for (const run of round % 2 === 0 ? runs : runs.toReversed()) await run()
    commits.push(commit)
    beyond.push(made - commit)
    if (round % 10 === 0) {
      const branch = await store.branch(`made/${round}`)
      first.push(await timed(() => branch.get(events, round)))
    }
  }
  await store.close()
  const p90 = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.9)]!
  suite.fact(
    'branch.create.beyond-commit',
    `${rounded(medianOf(beyond))} ms (90 %: ${rounded(p90(beyond))}), beside a commit of ${rounded(medianOf(commits))} ms`,
  )
  suite.fact('branch.first-use', `${rounded(medianOf(first))} ms over ${ROWS} rows on main, ${BRANCHES} branches`)
}
