// cli/commands/staged.ts: `varve staged ls|publish|rollback <store> [id]`: writes that were sealed and wait for their user.
import type { PendingWrite, WriteId } from '../../index.ts'
import { type Context, type Run, textOption, withReader, withWriter } from '../command.ts'
import { UsageError } from '../failure.ts'
import { durationText, factLines, printable, tableLines } from '../render.ts'

const ID = /^[0-9A-HJKMNP-TV-Z]{26}$/
const WHAT = ['ls', 'publish', 'rollback'] as const

export const run: Run = async (context, [what = '', path = '', id], options) => {
  switch (what) {
    case 'ls':
      return await list(context, path)
    case 'publish':
      return await publish(context, path, idOf(what, id))
    case 'rollback':
      return await rollBack(context, path, idOf(what, id), textOption(options, 'reason'))
    default:
      throw new UsageError(`no varve staged ${JSON.stringify(what)}`, `There is: ${WHAT.join(', ')}.`)
  }
}

function idOf(what: string, id: string | undefined): WriteId {
  if (id === undefined) throw new UsageError(`varve staged ${what} needs the id of a write`, 'varve staged ls shows them.')
  if (!ID.test(id)) throw new UsageError(`${JSON.stringify(id)} is not the id of a write`, 'It is 26 characters; varve staged ls shows them.')
  return id as WriteId
}

async function list(context: Context, path: string): Promise<undefined> {
  await withReader(path, context, async (store) => {
    const writes = await store.staged()
    if (context.json) await context.out.json(writes)
    else await context.out.lines(writes.length === 0 ? ['no staged writes'] : listLines(writes))
  })
}

function listLines(writes: readonly PendingWrite[]): string[] {
  const rows = writes.map(({ writeId, kind, branch, ageMs, owner, decision, message }) => [
    writeId,
    kind,
    branch,
    durationText(ageMs),
    owner,
    decision.reason === undefined ? decision.kind : `${decision.kind}: ${decision.reason}`,
    message ?? '',
  ])
  return tableLines(['write', 'kind', 'branch', 'age', 'owner', 'decision', 'message'], rows, ['left', 'left', 'left', 'right'])
}

async function publish(context: Context, path: string, id: WriteId): Promise<undefined> {
  await withWriter(path, context, 'never', async (store) => {
    const write = await store.resume(id)
    const { lsn, rows, replayed, time } = await write.publish()
    if (context.json) return await context.out.json({ writeId: id, state: 'published', lsn, rows, replayed, time })
    const facts = factLines([
      ['LSN', String(lsn)],
      ['rows', String(rows)],
      ['time', time.toISOString()],
    ])
    await context.out.lines([replayed ? `${id} was published before` : `${id} is published`, ...facts])
  })
}

async function rollBack(context: Context, path: string, id: WriteId, reason: string | undefined): Promise<undefined> {
  await withWriter(path, context, 'never', async (store) => {
    const write = await store.resume(id)
    await write.rollback(reason)
    if (context.json) await context.out.json({ writeId: id, state: 'rolledBack', ...(reason === undefined ? {} : { reason }) })
    else await context.out.lines([`${id} is rolled back${reason === undefined ? '' : `: ${printable(reason)}`}`])
  })
}
