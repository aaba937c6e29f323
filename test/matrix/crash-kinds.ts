// Every kind of write of the crash matrix: what comes before it, what it does, and what that does to the rows.
//
// `act` is what failpoints strike; `before` runs in an earlier process, or, where the kind `goesOn`, in the same one.
import { columns, CommitOutcomeUnknownError, gt, lt, type OpenOptions } from '../../bindings/index.ts'
import { FP } from '../../bindings/testing/index.ts'
import { BRANCH_KINDS } from './crash-branches.ts'
import { type Layout, Process } from './crash-ground.ts'
import {
  addNotes,
  all,
  big,
  bigHas,
  create,
  docs,
  docsIndexed,
  docsLater,
  docsOf,
  dropRows,
  type Doc,
  type Effect,
  empty,
  extra,
  notes,
  notesOf,
  patchDocs,
  probes,
  putAll,
  stock,
  stockLater,
  stockOf,
} from './crash-rows.ts'
import type { Run } from './crash-run.ts'

export interface Kind {
  readonly name: string
  readonly options?: OpenOptions
  /** Default: all. */
  readonly layouts?: readonly Layout[]
  readonly before?: (run: Run) => Promise<void>
  /** How the process of `before` ends; default: it closes the store. */
  readonly leaves?: 'killed' | 'goesOn'
  /** `act` opens the store itself. */
  readonly opens?: true
  /** `before` may leave files under their final names that no record will name. */
  readonly promoted?: true
  /** On a ground where there is no store. */
  readonly fresh?: true
  readonly act: (run: Run) => Promise<unknown>
  /** What its user does about a held write that is still sealed in the end. */
  readonly ends?: 'rollback'
}

const MANY = 40
/** Above what a record keeps of a delete. */
const BIG_ROWS = 18_000
const bulk = <C extends object>(rows: readonly C[]): { [K in keyof C]: C[K][] } => {
  const names = Object.keys(rows[0]!) as (keyof C)[]
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])])) as { [K in keyof C]: C[K][] }
}

const few = docsOf(100, 3, 7)
const some = [...docsOf(2, 2, 8), ...docsOf(110, 2, 8)]
const many = docsOf(200, MANY, 9)
/** Keys of a fragment, of the memory layer, and new ones. */
const mixed = [...docsOf(0, 8, 11), ...docsOf(44, 6, 11), ...docsOf(300, MANY, 11)]
const lines = notesOf(500, MANY)
const whole = docsOf(400, MANY, 12)

const SEPARATE: OpenOptions = { sealMode: 'separate' }

const inline: Kind[] = [
  { name: 'append', act: (run) => run.commit('append', putAll('docs', few), (o) => run.store.append(docs, few, o)) },
  { name: 'append, no key', act: (run) => run.commit('append', addNotes(notesOf(600, 3)), (o) => run.store.append(notes, notesOf(600, 3), o)) },
  { name: 'upsert', act: (run) => run.commit('upsert', putAll('docs', some), (o) => run.store.upsert(docs, some, o)) },
  {
    name: 'update',
    act: (run) =>
      run.commit('update', patchDocs([1, 42], { n: 99 }), (o) =>
        run.store.update(
          docs,
          [
            { id: 1, n: 99 },
            { id: 42, n: 99 },
          ],
          o,
        ),
      ),
  },
  {
    name: 'delete',
    act: (run) =>
      run.commit(
        'delete',
        dropRows('docs', ({ id }) => id === 3 || id === 41),
        (o) => run.store.delete(docs, [3, 41, 77], o),
      ),
  },
  {
    name: 'deleteWhere',
    act: (run) =>
      run.commit(
        'deleteWhere',
        dropRows('notes', ({ n }) => Number(n) > 15),
        (o) => run.store.deleteWhere(notes, gt('n', 15), o),
      ),
  },
  { name: 'replace', act: (run) => run.commit('replace', all(empty('docs'), putAll('docs', few)), (o) => run.store.replace(docs, few, o)) },
  {
    name: 'three commits over segments',
    options: { inlineLimitBytes: 256 * 1024 },
    act: async (run) => {
      for (let i = 0; i < 3; i++) {
        const wide = [{ id: 700 + i, n: i, body: 'wide '.repeat(6000) }]
        await run.commit(`upsert ${i}`, putAll('docs', wide), (o) => run.store.upsert(docs, wide, o))
      }
    },
  },
]

const several: Kind[] = [
  {
    name: 'transact',
    act: (run) =>
      run.commit(
        'transact',
        all(
          putAll('docs', few),
          dropRows('docs', ({ id }) => id === 5),
          addNotes(notesOf(600, 2)),
          putAll('stock', stockOf(3, 3, 50)),
        ),
        (o) =>
          run.store.transact(async (tx) => {
            await tx.get(docs, 1)
            tx.append(docs, few)
            tx.delete(docs, 5)
            tx.append(notes, notesOf(600, 2))
            tx.upsert(stock, stockOf(3, 3, 50))
          }, o),
      ),
  },
  {
    name: 'create table',
    act: async (run) => {
      await run.quiet('create', () => run.store.create(extra), create('extra'))
      await run.commit('first row', putAll('extra', [{ id: 1, body: 'one' }]), (o) => run.store.append(extra, { id: 1, body: 'one' }, o))
    },
  },
  {
    name: 'apply',
    act: async (run) => {
      await run.quiet('apply', () => run.store.apply([docsLater, stockLater, extra]), create('extra'))
      // The rows of before are read through the older definitions that a program may still have.
      await run.commit('first rows', all(putAll('extra', [{ id: 1, body: 'one' }]), putAll('docs', few)), (o) =>
        run.store.transact((tx) => {
          tx.append(extra, { id: 1, body: 'one' })
          tx.append(docs, few)
        }, o),
      )
    },
  },
]

function loads(mode: 'fused' | 'separate'): Kind[] {
  const options: OpenOptions = { sealMode: mode }
  return [
    { name: `load append, ${mode}`, options, act: (run) => run.commit('load', putAll('docs', many), (o) => run.store.append(docs, columns(bulk(many)), o)) },
    {
      name: `load append, no key, ${mode}`,
      options,
      act: (run) => run.commit('load', addNotes(lines), (o) => run.store.append(notes, columns(bulk(lines)), o)),
    },
    { name: `load upsert, ${mode}`, options, act: (run) => run.commit('load', putAll('docs', mixed), (o) => run.store.upsert(docs, columns(bulk(mixed)), o)) },
    {
      name: `load replace, ${mode}`,
      options,
      act: (run) => run.commit('load', all(empty('docs'), putAll('docs', whole)), (o) => run.store.replace(docs, columns(bulk(whole)), o)),
    },
  ]
}

/** Enough rows in one fragment that a delete of most of them leaves a deletion vector. */
const wide = docsOf(5000, 1500, 3)
function largeDelete(mode: 'fused' | 'separate'): Kind[] {
  const before = async (run: Run): Promise<void> => {
    await run.quiet('create', () => run.store.create(big), create('big'))
    await run.commit('load', bigHas(BIG_ROWS), (o) => run.store.append(big, columns({ n: Int32Array.from({ length: BIG_ROWS }, (_, i) => i) }), o))
  }
  return [
    {
      name: `deleteWhere with a deletion vector, ${mode}`,
      options: { sealMode: mode },
      before,
      act: (run) => run.commit('deleteWhere', bigHas(1001), (o) => run.store.deleteWhere(big, gt('n', 1000), o)),
    },
  ]
}

/** Several fragments of a table with a key and declared indexes, and of one without, rows of both deleted; fragments that lack only their indexes. */
function optimizes(mode: 'fused' | 'separate'): Kind[] {
  const before = async (run: Run): Promise<void> => {
    await run.quiet('apply', () => run.store.apply([docsIndexed]))
    await run.commit('load docs', putAll('docs', many), (o) => run.store.append(docs, columns(bulk(many)), o))
    await run.commit('load notes', addNotes(lines), (o) => run.store.append(notes, columns(bulk(lines)), o))
    await run.commit(
      'deleteWhere',
      dropRows('notes', ({ n }) => Number(n) > 15),
      (o) => run.store.deleteWhere(notes, gt('n', 15), o),
    )
  }
  const full = async (run: Run): Promise<void> => {
    await run.quiet('optimize', () => run.store.optimize())
    await run.quiet('apply', () => run.store.apply([docsIndexed]))
  }
  const act = (run: Run): Promise<unknown> => run.quiet('optimize', () => run.store.optimize())
  return [
    { name: `optimize, ${mode}`, options: { sealMode: mode }, before, act },
    { name: `optimize, only indexes, ${mode}`, options: { sealMode: mode }, before: full, act },
  ]
}

/** Files of older versions, and checkpoints and log behind them. */
function vacuums(): Kind[] {
  const before = async (run: Run): Promise<void> => {
    await run.commit('load docs', putAll('docs', many), (o) => run.store.append(docs, columns(bulk(many)), o))
    await run.quiet('flush', () => run.store.flush())
    await run.commit('upsert', putAll('docs', mixed), (o) => run.store.upsert(docs, columns(bulk(mixed)), o))
    await run.quiet('flush', () => run.store.flush())
    await run.quiet('optimize', () => run.store.optimize())
    await run.commit('upsert again', putAll('docs', some), (o) => run.store.upsert(docs, some, o))
    await run.quiet('flush', () => run.store.flush())
  }
  // Where several hosts write, files are kept for a day, behind a log that may be trimmed: nothing names them then.
  return [{ name: 'vacuum', layouts: ['segments'], before, act: (run) => run.quiet('vacuum', () => run.store.vacuum({ keep: { versions: 1 } })) }]
}

const upkeep: Kind[] = [
  {
    name: 'deleteWhere and flush, with a deletion vector',
    before: async (run) => {
      await run.commit('load', putAll('docs', wide), (o) => run.store.append(docs, columns(bulk(wide)), o))
    },
    act: async (run) => {
      await run.commit(
        'deleteWhere',
        dropRows('docs', ({ id }) => Number(id) > 5200),
        (o) => run.store.deleteWhere(docs, gt('id', 5200), o),
      )
      await run.commit('upsert', putAll('docs', few), (o) => run.store.upsert(docs, few, o))
      await run.quiet('flush', () => run.store.flush())
    },
  },
  ...largeDelete('fused'),
  ...largeDelete('separate'),
  { name: 'flush', act: (run) => run.quiet('flush', () => run.store.flush()) },
  {
    name: 'checkpoint',
    // No rows in memory, and the record of an open behind the newest checkpoint.
    before: (run) => run.quiet('flush', () => run.store.flush()),
    act: (run) => run.quiet('checkpoint', () => run.store.flush()),
  },
  ...optimizes('fused'),
  ...optimizes('separate'),
  ...vacuums(),
  { name: 'close', act: (run) => run.quiet('close', () => run.store.close()) },
  {
    name: 'close after a commit',
    act: async (run) => {
      await run.commit('upsert', putAll('docs', few), (o) => run.store.upsert(docs, few, o))
      await run.quiet('close', () => run.store.close())
    },
  },
  { name: 'open', opens: true, act: (run) => run.quiet('open', () => run.process.open()) },
  { name: 'open after a kill', leaves: 'killed', opens: true, act: (run) => run.quiet('open', () => run.process.open()) },
  {
    name: 'first open',
    fresh: true,
    opens: true,
    act: async (run) => {
      await run.quiet('open', () => run.process.open())
      await run.quiet('create', () => run.store.create(docs, notes, stock, probes), all(create('docs'), create('notes'), create('stock'), create('probes')))
    },
  },
]

const staged_ = all(
  putAll('docs', many),
  dropRows('docs', ({ id }) => id === 4 || id === 43),
  addNotes(lines),
  all(empty('stock'), putAll('stock', stockOf(20, 12, 4))),
)

async function stage(run: Run): Promise<void> {
  run.held = run.newId()
  const { held } = run
  await run.quiet('stage', async () => {
    const write = await run.store.stage({ writeId: held })
    run.write = write
    await write.append(docs, columns(bulk(many)))
    await write.delete(docs, [4, 43])
    await write.append(notes, columns(bulk(lines)))
    await write.replace(stock, stockOf(20, 12, 4))
  })
}

async function sealed(run: Run): Promise<void> {
  await stage(run)
  await run.decide('seal', undefined, () => run.write!.seal())
}

const resume = async (run: Run): Promise<void> => {
  run.write = await run.store.resume(run.held!)
}

const staged: Kind[] = [
  { name: 'stage', act: stage },
  {
    name: 'stage, and leave the scope',
    act: async (run) => {
      await stage(run)
      await run.quiet('leave', () => run.write![Symbol.asyncDispose]())
    },
  },
  {
    name: 'stage and roll back',
    act: async (run) => {
      await stage(run)
      await run.decide('rollback', undefined, () => run.write!.rollback('no longer wanted'))
    },
  },
  { name: 'stage and seal', act: sealed },
  {
    name: 'stage with a lease, and seal',
    act: async (run) => {
      await stage(run)
      await run.process.sim.time.advance(21_000)
      await run.decide('seal', undefined, () => run.write!.seal())
    },
  },
  {
    name: 'stage upsert and deleteWhere, seal and publish',
    act: async (run) => {
      run.held = run.newId()
      const { held } = run
      await run.quiet('stage', async () => {
        run.write = await run.store.stage({ writeId: held })
        await run.write.upsert(docs, columns(bulk(mixed)))
        await run.write.deleteWhere(notes, lt('n', 5))
      })
      await run.decide('seal', undefined, () => run.write!.seal())
      await run.decide(
        'publish',
        all(
          putAll('docs', mixed),
          dropRows('notes', ({ n }) => Number(n) < 5),
        ),
        () => run.write!.publish(),
      )
    },
  },
  {
    name: 'publish',
    before: sealed,
    leaves: 'goesOn',
    act: (run) => run.decide('publish', staged_, () => run.write!.publish()),
  },
  {
    name: 'stage and publish in one go',
    act: async (run) => {
      await stage(run)
      await run.decide('publish', staged_, () => run.write!.publish())
    },
  },
  {
    name: 'roll back a sealed write',
    before: sealed,
    leaves: 'goesOn',
    ends: 'rollback',
    act: (run) => run.decide('rollback', undefined, () => run.write!.rollback('no longer wanted')),
  },
  {
    name: 'leave the scope of a sealed write',
    before: sealed,
    leaves: 'goesOn',
    act: (run) => run.quiet('leave', () => run.write![Symbol.asyncDispose]()),
  },
  {
    name: 'resume and publish after a reopen',
    before: sealed,
    act: async (run) => {
      await run.quiet('resume', () => resume(run))
      await run.decide('publish', staged_, () => run.write!.publish())
    },
  },
  {
    name: 'resume and roll back after a kill',
    before: sealed,
    leaves: 'killed',
    ends: 'rollback',
    act: async (run) => {
      await run.quiet('resume', () => resume(run))
      await run.decide('rollback', undefined, () => run.write!.rollback('no longer wanted'))
    },
  },
]

/** A crash is itself followed by a crash: opens that find something, and writes that heal. */
const recovering: Kind[] = [
  { name: 'open with a write that was armed', before: (run) => run.dieAt(FP.stage.afterFile, () => load(run)), leaves: 'killed', opens: true, act: open },
  {
    name: 'open with a write that was promoted',
    promoted: true,
    before: (run) => run.dieAt(FP.promote.after, () => load(run)),
    leaves: 'killed',
    opens: true,
    act: open,
  },
  {
    name: 'open with a sealed write to roll forward',
    options: SEPARATE,
    before: async (run) => {
      await run.dieAt(FP.promote.before, () => load(run))
      run.settle(putAll('docs', many))
    },
    leaves: 'killed',
    opens: true,
    act: open,
  },
  {
    name: 'open with a published write to retire',
    before: async (run) => {
      await run.dieAt(FP.retire.before, () => load(run))
      run.settle(putAll('docs', many))
    },
    leaves: 'killed',
    opens: true,
    act: open,
  },
  {
    name: 'open with a held write past its term',
    before: async (run) => {
      run.held = run.newId()
      const write = await run.store.stage({ writeId: run.held, holdUntil: new Date(run.process.sim.world.clock.nowMs() + 1000) })
      await write.append(notes, columns(bulk(lines)))
      await write.seal()
      run.process.sim.tick(5000)
      await run.commit('upsert', putAll('docs', few), (o) => run.store.upsert(docs, few, o))
    },
    leaves: 'killed',
    opens: true,
    act: open,
  },
  {
    name: 'append that heals a sealed write',
    options: SEPARATE,
    before: async (run) => {
      using _armed = run.process.points.arm(FP.promote.before, { error: 'io' })
      await load(run).catch(() => undefined)
      run.settle(putAll('docs', many))
    },
    leaves: 'goesOn',
    act: (run) => run.commit('append', addNotes(notesOf(600, 3)), (o) => run.store.append(notes, notesOf(600, 3), o)),
  },
]

const SHARED: readonly Layout[] = ['slots', 'memory', 'object']
const theirs = [{ sku: 'theirs', count: 1 }]

/** Another writer commits, which the handle under test does not know of. */
async function rival(run: Run): Promise<void> {
  const other = new Process(run.ground, 8, 808, run.alive)
  await other.open()
  await other.store.upsert(stock, theirs)
  await other.store.close()
  other.gone()
  run.settle(putAll('stock', theirs))
}

/** Of several writers: a slot that another took, and one of which nobody told who has it. */
const contended: Kind[] = [
  {
    name: 'upsert that loses its slot',
    layouts: SHARED,
    before: rival,
    leaves: 'goesOn',
    act: (run) => run.commit('upsert', putAll('docs', some), (o) => run.store.upsert(docs, some, o)),
  },
  { name: 'load that loses its slot', layouts: SHARED, before: rival, leaves: 'goesOn', act: load },
  {
    name: 'publish that loses its slot',
    layouts: SHARED,
    before: async (run) => {
      run.held = run.newId()
      run.write = await run.store.stage({ writeId: run.held })
      await run.write.append(docs, columns(bulk(many)))
      await run.decide('seal', undefined, () => run.write!.seal())
      await rival(run)
    },
    leaves: 'goesOn',
    act: (run) => run.decide('publish', putAll('docs', many), () => run.write!.publish()),
  },
  {
    name: 'append after a lost answer',
    layouts: SHARED,
    act: async (run) => {
      {
        using _armed = run.process.points.arm(FP.log.beforeFloorRead, { error: 'timeout', times: 1, mayMiss: true })
        await run
          .commit('append', putAll('docs', few), (o) => run.store.append(docs, few, o))
          .catch((error: unknown) => {
            if (!(error instanceof CommitOutcomeUnknownError)) throw error
          })
      }
      await run.commit('append, no key', addNotes(notesOf(600, 3)), (o) => run.store.append(notes, notesOf(600, 3), o))
    },
  },
]

/** What dev does: rows of its own, one that main changes another column of, one that goes, and lines of a table without a key. */
const devRows = [...docsOf(500, 3, 21), { id: 1, n: 21, body: 'doc 1 of 1' }]
const devMany = [...docsOf(600, MANY, 21), { id: 1, n: 21, body: 'doc 1 of 1' }]
const mainRow = { id: 1, n: 1, body: 'main' }

function branched(rows: readonly Doc[]): (run: Run) => Promise<void> {
  return async (run) => {
    await run.quiet('branch', async () => {
      const dev = await run.store.branch('dev')
      await dev.upsert(docs, rows)
      await dev.delete(docs, [3])
      await dev.append(notes, notesOf(800, 2))
    })
    await run.commit('upsert', putAll('docs', [mainRow]), (o) => run.store.upsert(docs, mainRow, o))
  }
}

function mergedRows(rows: readonly { readonly id: number }[]): Effect {
  return all(
    putAll('docs', [...rows.filter(({ id }) => id !== 1), { id: 1, n: 21, body: 'main' }]),
    dropRows('docs', ({ id }) => id === 3),
    addNotes(notesOf(800, 2)),
  )
}

const merges: Kind[] = [
  {
    name: 'merge of few rows',
    options: { inlineLimitBytes: 256 * 1024 },
    before: branched(devRows),
    act: (run) => run.commit('merge', mergedRows(devRows), (o) => run.store.merge('dev', o)),
  },
  {
    name: 'merge of many rows',
    before: branched(devMany),
    act: (run) => run.commit('merge', mergedRows(devMany), (o) => run.store.merge('dev', o)),
  },
  {
    name: 'revert',
    before: async (run) => {
      await run.commit('upsert', putAll('docs', docsOf(0, MANY, 31)), (o) => run.store.upsert(docs, columns(bulk(docsOf(0, MANY, 31))), o))
      run.mark = run.store.lsn
      await run.commit('upsert', putAll('docs', docsOf(0, MANY, 32)), (o) => run.store.upsert(docs, columns(bulk(docsOf(0, MANY, 32))), o))
    },
    leaves: 'goesOn',
    act: (run) => run.commit('revert', putAll('docs', docsOf(0, MANY, 31)), (o) => run.store.revert(run.mark!, { ...o, tables: [docs] })),
  },
  {
    name: 'open with a sealed merge to roll forward',
    before: async (run) => {
      await branched(devMany)(run)
      await run.dieAt(FP.promote.before, () => run.commit('merge', mergedRows(devMany), (o) => run.store.merge('dev', o)))
      run.settle(mergedRows(devMany))
    },
    leaves: 'killed',
    opens: true,
    act: open,
  },
]

function load(run: Run): Promise<unknown> {
  return run.commit('load', putAll('docs', many), (o) => run.store.append(docs, columns(bulk(many)), o))
}

function open(run: Run): Promise<unknown> {
  return run.quiet('open', () => run.process.open())
}

export const KINDS: readonly Kind[] = [
  ...inline,
  ...several,
  ...loads('fused'),
  ...loads('separate'),
  ...upkeep,
  ...staged,
  ...recovering,
  ...contended,
  ...merges,
  ...BRANCH_KINDS,
]
