// cli/demo/evolve.ts: the later life of the store: an index and a column for a table that is there, a branch that is tried and merged, a backup, a vacuum.
//
// Invariant: every claim is held against the tally of the file or against the store itself at another position, never against what a step has just said.
import { join } from 'node:path'
import { and, eq, gt, HistoryUnavailableError, lsn as position, Store, t, table } from '../../index.ts'
import { bytesText, countText, durationText, rateText } from '../render.ts'
import type { Report } from './report.ts'
import { flights } from './tables.ts'
import type { Tally } from './tally.ts'

const BRANCH = 'no-long-delays'
const LONG_MINUTES = 240
const BACKUP = 'backup'

/** The same table, one column and one index richer. */
const richer = table('flights', { ...flights.columns, note: t.utf8().default('as reported') }, { key: ['id'], index: [['origin', 'destination']] })

export async function evolve(report: Report, path: string, { tally }: { readonly tally: Tally }, signal: AbortSignal): Promise<void> {
  const store = await Store.open(path, { create: 'never', signal })
  try {
    await addColumnAndIndex(report, store, tally)
    await tryOnBranch(report, store)
    await backUpAndVacuum(report, store, path)
  } finally {
    await store.close()
  }
}

async function addColumnAndIndex(report: Report, store: Store, tally: Tally): Promise<void> {
  await report.step('Give flights a column and an index; old files are read through the new definition')
  const bytes = (await store.stats()).tables['flights']!.bytes
  let startMs = performance.now()
  const plan = await store.apply([richer])
  report.figure('add a column', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
  await report.say([`${plan.steps.map(({ kind, column }) => (column === undefined ? kind : `${kind} ${column}`)).join(', ')} at LSN ${plan.lsn}`])
  await report.check(
    'a flight of old has the new column, and no file was written for it',
    ['as reported', bytes],
    [(await store.get(richer, 0n))?.note, (await store.stats()).tables['flights']!.bytes],
  )
  startMs = performance.now()
  const optimized = await store.optimize({ tables: [richer] })
  const ms = performance.now() - startMs
  const told = optimized.tables['flights']
  report.figure('optimize', ms, 'ms', `${durationText(ms)}, ${rateText(tally.rows, ms, 'rows')}`)
  const { coverage } = (await store.stats()).tables['flights']!
  await report.check(
    `optimize made ${told?.fragmentsAfter} files of ${told?.fragmentsBefore} and built the index (${durationText(ms)})`,
    Object.keys(coverage).map(() => 1),
    Object.values(coverage).map(({ share }) => share),
  )
  const [origin, destination] = ['SFO', 'JFK']
  const scan = store.scan(richer, { select: ['id', 'delay'], where: and(eq('origin', origin), eq('destination', destination)) })
  startMs = performance.now()
  const rows = await scan.toArray()
  const scanMs = performance.now() - startMs
  await report.say((await scan.explain()).text.split('\n').map((line) => line.trim()))
  await report.check(
    `${countText(rows.length)} flights from ${origin} to ${destination} through the index (${durationText(scanMs)})`,
    tally.route(origin, destination).flights,
    rows.length,
  )
  report.figure('one route through the index', scanMs, 'ms', durationText(scanMs))
}

async function tryOnBranch(report: Report, store: Store): Promise<void> {
  await report.step(`What if no flight had been more than ${LONG_MINUTES / 60} hours late? Try it on a branch, then merge`)
  const [all, long] = [await store.scan(richer).count(), await store.scan(richer, { where: gt('delay', LONG_MINUTES) }).count()]
  await store.tag('before-the-merge')
  let startMs = performance.now()
  const branch = await store.branch(BRANCH, { create: 'must' })
  report.figure('create a branch', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
  await branch.deleteWhere(richer, gt('delay', LONG_MINUTES))
  await report.check(
    'the branch has fewer flights, main has all of them',
    [all - long, all],
    [await branch.scan(richer).count(), await store.scan(richer).count()],
  )
  startMs = performance.now()
  const kinds = { insert: 0, update: 0, delete: 0 }
  for await (const { kind } of store.diff('main', BRANCH, { tables: [richer], images: 'after' })) kinds[kind]++
  report.figure('diff of main and branch', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
  await report.check(`the difference is ${countText(long)} flights, and nothing else`, { insert: 0, update: 0, delete: long }, kinds)
  startMs = performance.now()
  const merged = await store.merge(BRANCH, { message: 'no long delays' })
  report.figure('merge', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
  await report.check(
    `merged at LSN ${merged.lsn}: main has them no more, the tag still does`,
    [all - long, all],
    [await store.scan(richer).count(), await store.scan(richer, { at: 'before-the-merge' }).count()],
  )
  await store.deleteBranch(BRANCH)
  await store.deleteTag('before-the-merge')
}

async function backUpAndVacuum(report: Report, store: Store, path: string): Promise<void> {
  await report.step('Back up, then let go of every older version')
  const target = beside(path, BACKUP)
  let startMs = performance.now()
  const backup = await store.backup(target)
  report.figure(
    'backup',
    performance.now() - startMs,
    'ms',
    `${durationText(performance.now() - startMs)}, ${bytesText(backup.bytes)} in ${countText(backup.files)} files`,
  )
  const rows = await store.scan(richer).count()
  const copy = await Store.open(target, { readOnly: true })
  try {
    await report.check(`the backup at LSN ${backup.lsn} opens and has every flight`, rows, await copy.scan(richer).count())
  } finally {
    await copy.close()
  }
  const again = await store.backup(target)
  await report.check('a second backup onto the first copies next to nothing', true, again.copied < backup.copied / 10)
  startMs = performance.now()
  const vacuum = await store.vacuum({ keep: { versions: 1 } })
  report.figure(
    'vacuum',
    performance.now() - startMs,
    'ms',
    `${durationText(performance.now() - startMs)}, ${bytesText(vacuum.bytes)} in ${countText(vacuum.deleted)} files`,
  )
  await report.check('every flight is still there', rows, await store.scan(richer).count())
  const refused = await store.get(richer, 0n, { at: position(3n) }).then(
    () => undefined,
    (error: unknown) => error instanceof HistoryUnavailableError,
  )
  await report.check('what is gone is refused by name, not read as empty', true, refused)
}

/** A folder next to the store's. */
export function beside(path: string, what: string): string {
  return join(path, '..', `${path.split(/[/\\]/).at(-1)!}-${what}`)
}
