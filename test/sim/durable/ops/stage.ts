// Staged writes: begun, fed, and then published, sealed and kept, rolled back or left; what was sealed is decided in any later step, by any later process.

import { ConflictError, type StagedWrite } from '../../../../bindings/index.ts'
import { apply, type Change, keyOf, rowsOf, type State, TABLES } from '../../store-model.ts'
import type { Dice } from '../dice.ts'
import type { Life, OpKind, Sealed } from '../life.ts'
import { drawChange, drawLoad, performChange } from './changes.ts'

type End = 'publish' | 'seal' | 'rollback' | 'leave'

interface Step {
  readonly changes: readonly Change[]
  readonly end: End
  /** Committed by the store itself before the end. */
  readonly between: Change | null
}

/** What may be replayed over a later state: rows by key, rows added, a table replaced. */
function drawStaged(dice: Dice): Change {
  for (;;) {
    const drawn = dice.once(3) ? drawLoad(dice) : drawChange(dice)
    const how = drawn.op === 'bulk' ? drawn.how : drawn.op
    if (how === 'upsert' || how === 'replace' || how === 'delete' || (how === 'append' && drawn.table === 'events')) return drawn
  }
}

function feed(write: StagedWrite, change: Change): Promise<void> {
  const table = TABLES[change.table]
  if (change.op === 'delete') {
    const keys = change.keys.map((key) => keyOf(change.table, key))
    return write.delete(table, keys as never)
  }
  const how = (change.op === 'bulk' ? change.how : change.op) as 'append' | 'upsert' | 'replace'
  return (write[how] as (table: unknown, rows: unknown) => Promise<void>).call(write, table, rowsOf(change))
}

/** The state after the write's changes; undefined: they do not fit. */
function replayed(state: State, changes: readonly Change[]): State | undefined {
  let after: State | undefined = state
  for (const change of changes) after = after === undefined ? undefined : apply(after, change)?.state
  return after
}

async function publish(life: Life, write: StagedWrite, changes: readonly Change[], sealed: Sealed | undefined): Promise<void> {
  const from = Number(life.store.lsn) + 1
  try {
    const { lsn } = await write.publish().then((result) => {
      life.acknowledge(Number(result.lsn))
      return result
    })
    if (sealed === undefined) life.passing(write.id, from, Number(lsn))
    else sealed.decide('published', Number(lsn), Number(lsn))
    life.committed(Number(lsn), replayed(life.state, changes)!)
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error
    await write.rollback()
    const to = Number(life.store.lsn)
    life.acknowledge(to)
    if (sealed === undefined) life.passing(write.id, from, to)
    else sealed.decide('rolledBack', from, to)
  }
}

export const stage: OpKind<Step> = {
  name: 'stage',
  weight: 6,
  draw: (dice) => ({
    changes: dice.list(1, 4, () => drawStaged(dice)),
    end: dice.pick<End>(['publish', 'publish', 'seal', 'seal', 'rollback', 'leave']),
    between: dice.once(3) ? drawChange(dice) : null,
  }),
  async run(life, { changes: asked, end, between }) {
    const changes = asked.filter(({ table }) => life.tables.includes(table))
    if (changes.length === 0 || replayed(life.state, changes) === undefined) return
    const write = await life.store.stage()
    for (const change of changes) await feed(write, change)
    if (between !== null) await performChange(life, between)
    const from = Number(life.store.lsn) + 1
    if (end === 'publish') return publish(life, write, changes, undefined)
    if (end === 'seal') {
      const lsn = Number(await write.seal())
      life.acknowledge(lsn)
      life.seal(write.id, lsn, changes)
      return
    }
    if (end === 'rollback') await write.rollback()
    else await write[Symbol.asyncDispose]()
    const to = Number(life.store.lsn)
    if (to >= from) {
      life.acknowledge(to)
      life.passing(write.id, from, to)
    }
  },
}

export const decide: OpKind<{ readonly which: number; readonly how: 'publish' | 'rollback' }> = {
  name: 'decide',
  weight: 4,
  draw: (dice) => ({ which: dice.int(10), how: dice.pick(['publish', 'publish', 'rollback']) }),
  async run(life, { which, how }) {
    const open = life.sealed.filter(({ decided }) => decided === undefined)
    const sealed = open[which % Math.max(1, open.length)]
    if (sealed === undefined) return
    const write = await life.store.resume(sealed.id as never)
    if (how === 'publish') return publish(life, write, sealed.changes, sealed)
    const from = Number(life.store.lsn) + 1
    await write.rollback()
    const to = Number(life.store.lsn)
    life.acknowledge(to)
    sealed.decide('rolledBack', from, to)
  },
}
