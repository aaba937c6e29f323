// cli/commands/branch.ts: `varve branch ls|create|delete <store> [name]` and `varve tag ls|create|delete <store> [name]`: names of positions.
import { atOption, type Context, type Run, textOption, withReader, withWriter } from '../command.ts'
import { UsageError } from '../failure.ts'
import { factLines, printable, tableLines } from '../render.ts'

const WHAT = ['ls', 'create', 'delete'] as const

export const runBranch: Run = async (context, [what = '', path = '', name], options) => {
  switch (what) {
    case 'ls':
      return await listBranches(context, path)
    case 'create':
      return await create(context, path, nameOf('branch', what, name), options)
    case 'delete':
      return await remove(context, path, 'branch', nameOf('branch', what, name))
    default:
      throw unknown('branch', what)
  }
}

export const runTag: Run = async (context, [what = '', path = '', name], options) => {
  switch (what) {
    case 'ls':
      return await listTags(context, path)
    case 'create':
      return await tag(context, path, nameOf('tag', what, name), options)
    case 'delete':
      return await remove(context, path, 'tag', nameOf('tag', what, name))
    default:
      throw unknown('tag', what)
  }
}

function unknown(command: string, what: string): UsageError {
  return new UsageError(`no varve ${command} ${JSON.stringify(what)}`, `There is: ${WHAT.join(', ')}.`)
}

function nameOf(command: string, what: string, name: string | undefined): string {
  if (name === undefined) throw new UsageError(`varve ${command} ${what} needs a name`, `varve ${command} ls shows those there are.`)
  return name
}

async function listBranches(context: Context, path: string): Promise<undefined> {
  await withReader(path, context, async (store) => {
    const branches = await store.branches()
    if (context.json) return await context.out.json(branches)
    const rows = branches.map(({ name, branchId, from, head }) => [name, String(from), String(head), branchId])
    await context.out.lines(tableLines(['branch', 'from', 'head', 'id'], rows, ['left', 'right', 'right']))
  })
}

async function listTags(context: Context, path: string): Promise<undefined> {
  await withReader(path, context, async (store) => {
    const tags = await store.tags()
    if (context.json) return await context.out.json(tags)
    const rows = tags.map(({ name, lsn, time, message }) => [name, String(lsn), time.toISOString(), printable(message ?? '')])
    await context.out.lines(rows.length === 0 ? ['no tags'] : tableLines(['tag', 'LSN', 'made', 'message'], rows, ['left', 'right']))
  })
}

async function create(context: Context, path: string, name: string, options: Readonly<Record<string, unknown>>): Promise<undefined> {
  const from = atOption({ at: options['from'] })
  await withWriter(path, context, 'never', async (store) => {
    const { branchId, lsn } = await store.branch(name, { create: 'must', ...(from === undefined ? {} : { from }) })
    if (context.json) return await context.out.json({ name, branchId, from: lsn })
    await context.out.lines([
      `branch ${name} is made`,
      ...factLines([
        ['from', `LSN ${lsn}`],
        ['id', branchId],
      ]),
    ])
  })
}

async function tag(context: Context, path: string, name: string, options: Readonly<Record<string, unknown>>): Promise<undefined> {
  const at = atOption(options)
  const message = textOption(options, 'message')
  await withWriter(path, context, 'never', async (store) => {
    await store.tag(name, { ...(at === undefined ? {} : { at }), ...(message === undefined ? {} : { message }) })
    const made = (await store.tags()).find((each) => each.name === name)!
    if (context.json) return await context.out.json(made)
    await context.out.lines([`tag ${name} is LSN ${made.lsn}`])
  })
}

async function remove(context: Context, path: string, kind: 'branch' | 'tag', name: string): Promise<undefined> {
  await withWriter(path, context, 'never', async (store) => {
    await (kind === 'branch' ? store.deleteBranch(name) : store.deleteTag(name))
    if (context.json) return await context.out.json({ name, deleted: true })
    await context.out.lines([`${kind} ${name} is deleted`])
  })
}
