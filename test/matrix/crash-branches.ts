// The kinds of the crash matrix that are about branches: made, written, flushed and deleted. Rows of a branch are the model's tables `docs@<branch>`.
import { columns, type OpenOptions } from '../../bindings/index.ts'
import type { Kind } from './crash-kinds.ts'
import { BRANCH, docs, docsOf, type Effect } from './crash-rows.ts'
import type { Run } from './crash-run.ts'

const some = docsOf(2, 3, 21)
const many = docsOf(250, 40, 22)
const few = docsOf(700, 3, 23)

/** A branch of main as it is. */
function branchOff(name: string): Effect {
  return (rows) => void rows.set(`docs@${name}`, new Map(rows.get('docs')))
}

function putOn(name: string, found: readonly { readonly id: number }[]): Effect {
  return (rows) => found.forEach((row) => void rows.get(`docs@${name}`)!.set(String(row.id), JSON.stringify(row)))
}

function dropBranch(name: string): Effect {
  return (rows) => void rows.delete(`docs@${name}`)
}

function make(run: Run): Promise<unknown> {
  return run.quiet('branch', () => run.store.branch(BRANCH), branchOff(BRANCH))
}

async function makeAndWrite(run: Run): Promise<void> {
  await make(run)
  await run.commit('upsert on a branch', putOn(BRANCH, some), async (o) => (await run.store.branch(BRANCH)).upsert(docs, some, o))
}

const bulk = (rows: typeof many): { id: number[]; n: number[]; body: string[] } => ({
  id: rows.map(({ id }) => id),
  n: rows.map(({ n }) => n),
  body: rows.map(({ body }) => body),
})

function loads(sealMode: 'fused' | 'separate'): Kind {
  const options: OpenOptions = { sealMode }
  return {
    name: `load into a branch, ${sealMode}`,
    options,
    before: makeAndWrite,
    act: (run) => run.commit('load', putOn(BRANCH, many), async (o) => (await run.store.branch(BRANCH)).upsert(docs, columns(bulk(many)), o)),
  }
}

export const BRANCH_KINDS: readonly Kind[] = [
  { name: 'make a branch', act: make },
  { name: 'delete a branch', before: makeAndWrite, act: (run) => run.quiet('deleteBranch', () => run.store.deleteBranch(BRANCH), dropBranch(BRANCH)) },
  {
    name: 'upsert on a branch',
    before: makeAndWrite,
    act: (run) => run.commit('upsert', putOn(BRANCH, few), async (o) => (await run.store.branch(BRANCH)).upsert(docs, few, o)),
  },
  loads('fused'),
  loads('separate'),
  { name: 'flush with rows of a branch', before: makeAndWrite, leaves: 'goesOn', act: (run) => run.quiet('flush', () => run.store.flush()) },
]
