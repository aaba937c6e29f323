// Branches and tags: made of main as it is or was, written, merged into main, deleted.

import { DuplicateKeyError, type Store } from '../../../../bindings/index.ts'
import { merge as mergeNodes, type Node } from '../../../property/merge-model.ts'
import { type AnyRow, apply, type Change, perform, rowText, type State } from '../../store-model.ts'
import type { Life, OpKind } from '../life.ts'
import { Named } from '../named.ts'
import { drawChange, drawLoad } from './changes.ts'

const BRANCHES_MAX = 4
const TAGS_MAX = 3

interface Where {
  /** Of what there is. */
  readonly which: number
  /** A version of main that is kept; else main as it is. */
  readonly old: boolean
}

/** The record came with this call. */
async function recorded(life: Life, act: () => Promise<unknown>): Promise<{ from: number; to: number }> {
  const from = Number(life.store.lsn) + 1
  await act()
  const to = Number(life.store.lsn)
  life.acknowledge(to)
  return { from, to }
}

function versionFor(life: Life, { which, old }: Where): Life['versions'][number] | undefined {
  if (!old) return undefined
  const floor = life.floorAt(Infinity)
  const kept = life.versions.filter(({ lsn }) => lsn > 0 && lsn >= floor)
  return kept[which % Math.max(1, kept.length)]
}

const drawWhere: OpKind<Where>['draw'] = (dice) => ({ which: dice.int(1000), old: dice.once(3) })

export const fork: OpKind<Where> = {
  name: 'fork',
  weight: 5,
  draw: drawWhere,
  async run(life, where) {
    if (life.live('branch').length >= BRANCHES_MAX) return
    const version = versionFor(life, where)
    const name = `b${life.named.length}`
    const made = await recorded(life, () =>
      life.store.branch(name, { create: 'must', ...(version === undefined ? {} : { from: BigInt(version.lsn) as never }) }),
    )
    // Older definitions are a matter of tests of their own.
    const definitions = version === undefined || version.lsn === life.versions.at(-1)!.lsn ? life.definitions : -1
    life.named.push(new Named('branch', name, made, version ?? life, definitions))
  },
}

export const tag: OpKind<Where> = {
  name: 'tag',
  weight: 2,
  draw: drawWhere,
  async run(life, where) {
    if (life.live('tag').length >= TAGS_MAX) return
    const branches = life.live('branch')
    const branch = where.old ? undefined : branches[where.which % (branches.length + 1)]
    const version = branch?.now ?? versionFor(life, where)
    const at = branch?.name ?? (version === undefined ? undefined : BigInt(version.lsn))
    const name = `t${life.named.length}`
    const made = await recorded(life, () => life.store.tag(name, at === undefined ? {} : { at: at as never }))
    life.named.push(new Named('tag', name, made, version ?? life, life.definitions))
  },
}

export const unname: OpKind<number> = {
  name: 'unname',
  weight: 2,
  draw: (dice) => dice.int(1000),
  async run(life, which) {
    const live = [...life.live('branch'), ...life.live('tag')]
    const one = live[which % Math.max(1, live.length)]
    if (one === undefined) return
    one.gone = await recorded(life, () => (one.kind === 'branch' ? life.store.deleteBranch(one.name) : life.store.deleteTag(one.name)))
  },
}

function drawBranch(life: Life, which: number): Named | undefined {
  const branches = life.live('branch')
  return branches[which % Math.max(1, branches.length)]
}

export const write: OpKind<{ readonly which: number; readonly change: Change }> = {
  name: 'write on a branch',
  weight: 8,
  draw: (dice) => ({ which: dice.int(1000), change: dice.once(4) ? drawLoad(dice) : drawChange(dice) }),
  async run(life, { which, change }) {
    const branch = drawBranch(life, which)
    if (branch === undefined || !branch.tables.includes(change.table)) return
    const right = apply(branch.now.state, change)
    const handle = await life.store.branch(branch.name, { create: 'never' })
    try {
      const { lsn } = await perform(handle as unknown as Store, change)
      life.acknowledge(Number(lsn))
      if (right === undefined) throw new Error('a key was let in twice')
      branch.committed(Number(lsn), right.state)
    } catch (error) {
      if (right !== undefined || !(error instanceof DuplicateKeyError)) throw error
    }
  },
}

export const merge: OpKind<{ readonly which: number; readonly side: 'ours' | 'theirs' }> = {
  name: 'merge',
  weight: 3,
  draw: (dice) => ({ which: dice.int(1000), side: dice.pick(['ours', 'theirs']) }),
  async run(life, { which, side }) {
    const branch = drawBranch(life, which)
    // Definitions that differ are a matter of tests of their own.
    if (branch === undefined || branch.definitions !== life.definitions || branch.tables.join() !== life.tables.join()) return
    const merged = mergedState(branch.base, branch.now.state, life.state, side)
    const from = Number(life.store.lsn) + 1
    const { lsn } = await life.store.merge(branch.name, { onConflict: side }).then((result) => {
      if (result.lsn !== undefined) life.acknowledge(Number(result.lsn))
      return result
    })
    if (lsn === undefined) return
    branch.base = branch.now.state
    life.committed(Number(lsn), merged)
    life.finishing.push({ from, to: Number(lsn), version: life.versions.at(-1)! })
  },
}

/** By the model of merges, which knows rows by texts. */
function mergedState(base: State, theirs: State, ours: State, side: 'ours' | 'theirs'): State {
  const events = new Map<string, AnyRow>()
  const nodeOf = ({ accounts, pairs, events: rows }: State): Node => ({
    index: 0,
    parents: [],
    tables: new Map([
      ['accounts', accounts as ReadonlyMap<string, AnyRow>],
      ['pairs', pairs as ReadonlyMap<string, AnyRow>],
    ]),
    log: (rows as readonly AnyRow[]).map((row) => {
      const text = rowText('events', row)
      events.set(text, row)
      return text
    }),
  })
  const { tables, log } = mergeNodes(nodeOf(base), nodeOf(theirs), nodeOf(ours), side, true)
  return { accounts: tables.get('accounts')!, pairs: tables.get('pairs')!, events: log.map((text) => events.get(text)!) }
}
