// unit/api/options.test.ts: options that a call does not take, or that cannot be, are refused by name, whatever they are an option of.
import { expect, it } from 'vitest'
import { InvalidConfigError, Store, t, table, type VacuumOptions } from '../../../bindings/index.ts'

const items = table('items', { id: t.int32(), n: t.int32().nullable() }, { key: ['id'] })

async function opened(): Promise<Store> {
  const store = await Store.open('memory:', { upkeep: 'manual', threads: 0 })
  await store.create(items)
  await store.append(items, { id: 1 })
  return store
}

const CALLS: readonly (readonly [
  call: string,
  run: (store: Store, o: object) => Promise<unknown>,
  bad: readonly (readonly [key: string, value: unknown])[],
])[] = [
  [
    'optimize',
    (store, o) => store.optimize(o),
    [
      ['tabels', [items]],
      ['tables', ['items']],
      ['tables', items],
      ['target', { row: 10 }],
      ['target', 10],
      ['target', { rows: 0 }],
      ['target', { bytes: 1.5 }],
      ['budgetMs', -1],
      ['budgetMs', '5'],
      ['perTable', 'yes'],
    ],
  ],
  ['vacuum', (store, o) => store.vacuum({ keep: { versions: 1 }, ...o } as VacuumOptions), [['dryrun', true]]],
  ['branch', (store, o) => store.branch('dev', o), [['form', 1]]],
  ['tag', (store, o) => store.tag('v1', o), [['msg', 'x']]],
  ['merge', (store, o) => store.merge('main', o), [['onconflict', 'ours']]],
  ['revert', (store, o) => store.revert(1, o), [['tabels', [items]]]],
  ['apply', (store, o) => store.apply([items], o), [['dryrun', true]]],
  ['backup', (store, o) => store.backup('memory:copy', o), [['att', 1]]],
  [
    'changes',
    (store, o) => store.changes({ from: 0, follow: false, ...o }).next(),
    [
      ['form', 0],
      ['brnach', 'dev'],
    ],
  ],
  ['audit', (store, o) => store.audit(o).next(), [['kind', ['commit']]]],
  ['stage', (store, o) => store.stage(o), [['hold', new Date()]]],
  [
    'verify',
    (store, o) => store.verify(o),
    [
      ['lvl', 'all'],
      ['level', 'everything'],
    ],
  ],
  [
    'diff',
    (store, o) => store.diff(0, 'main', { tables: [items], ...o }).next(),
    [
      ['table', items],
      ['tables', undefined],
      ['tables', items],
      ['images', 'all'],
    ],
  ],
]

it.for(CALLS)('%s refuses an option that it does not take, or a value that cannot be, before it does anything', async ([call, run, bad]) => {
  await using store = await opened()
  const { lsn } = store
  for (const [key, value] of bad) {
    const error: unknown = await run(store, { [key]: value }).then(
      () => undefined,
      (failure: unknown) => failure,
    )
    expect(error, `${call} ${key}`).toBeInstanceOf(InvalidConfigError)
    const { message, hint, details } = error as InvalidConfigError
    expect(`${message} ${JSON.stringify(details)}`).toContain(key)
    expect(hint).toMatch(/\w/)
  }
  expect(store.lsn).toBe(lsn)
})
