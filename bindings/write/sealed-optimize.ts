// write/sealed-optimize.ts: an optimize that was sealed and whose writer is gone, published from its seal and its files alone (recovery.md sections 5 and 10).
//
// Invariant: where a row of a fragment that it removes was hidden since, it is not published: which row of the new fragments that is, only its writer knew.

import { commitResult, conflict } from '../engine/index.ts'
import type { PendingSeal } from '../catalog/index.ts'
import { type FileGeneration, type FragmentId, type FragmentRef, type OptimizedPart, type Participant, promotedRef, type Reindexed } from '../format/index.ts'
import type { CommitResult, TableState } from '../table/index.ts'
import type { WriteParts } from './parts.ts'
import type { PublishOptions } from './publish.ts'

/** The gates of its tables are held. @throws ConflictError: a fragment is gone, or not as it was read; FencedError */
export async function publishOptimize(
  { engine }: WriteParts,
  seal: PendingSeal,
  generations: readonly FileGeneration[],
  { recovery }: Pick<PublishOptions, 'recovery'>,
): Promise<CommitResult> {
  const { committer, state } = engine.parts
  const { intent } = seal
  const tables: TableState[] = []
  const parts: OptimizedPart[] = []
  for (const participant of intent.participants) {
    const table = state.tables.get(participant.tableId)
    if (table === undefined) continue
    refuseMoved(table, participant)
    tables.push(table)
    const refs = seal.changes.flatMap((change) => (change.tableId === table.id ? (change.fragments ?? []) : []))
    parts.push(...partsOf(table, participant, refs, generations))
  }
  const armed = { writeId: seal.writeId, sealLsn: seal.lsn, parts, ...(recovery === undefined ? {} : { recovery }) }
  const lsn = await committer.optimize(tables, armed, Number(intent.baseLsn))
  return commitResult(lsn, seal.writeId, state.catalog.timeMs, 0, false)
}

/** @throws ConflictError */
function refuseMoved(table: TableState, { removes }: Participant): void {
  for (const { fragment, deletions } of removes) {
    const found = table.now.fragments.find((each) => `${each.lsn}.${each.ordinal}` === fragment)
    if (found === undefined || String(found.hides.count) !== deletions) throw conflict(table, [], table.lastLsn)
  }
}

function partsOf(table: TableState, participant: Participant, refs: readonly FragmentRef[], generations: readonly FileGeneration[]): OptimizedPart[] {
  const { id: tableId } = table
  const parts: OptimizedPart[] = []
  let removed = 0
  let made = 0
  for (const { removes, fragments } of participant.groups ?? []) {
    parts.push({
      tableId,
      removes: participant.removes.slice(removed, (removed += removes)).map(({ fragment }) => idOf(fragment)),
      fragments: refs.slice(made, (made += fragments)).map((ref) => promotedRef(ref, generations)),
      hides: [],
      reindexed: [],
    })
  }
  const reindexed = (participant.reindexed ?? []).flatMap((each): Reindexed[] => {
    const { fragment, ...indexes } = each
    const found = table.now.fragments.find(({ lsn, ordinal }) => `${lsn}.${ordinal}` === fragment)
    // Gone: what was built for it is of no use, and of no harm.
    return found === undefined ? [] : [{ ...idOf(fragment), ref: promotedRef({ ...found.ref, ...indexes }, generations) }]
  })
  return reindexed.length === 0 ? parts : [...parts, { tableId, removes: [], fragments: [], hides: [], reindexed }]
}

function idOf(fragment: string): FragmentId {
  const [lsn, ordinal] = fragment.split('.').map(Number)
  return { lsn: lsn!, ordinal: ordinal! }
}
