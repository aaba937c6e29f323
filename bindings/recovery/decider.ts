// recovery/decider.ts: recovery's hands: the steps of write/ that publish and roll back, under the gates that the owner of the write would hold.

import type { PendingSeal } from '../catalog/index.ts'
import { keyBytesOf, rowGates, tupleOf } from '../engine/index.ts'
import type { Participant } from '../format/index.ts'
import { StagingArea } from '../staging/index.ts'
import { formatKey, keyObjectFromBytes, resolveView, tableFromSchema } from '../table/index.ts'
import { keysOf, publishSealed, rollbackWrite, type WriteParts, writtenKeys } from '../write/index.ts'
import type { Subject } from './observe.ts'
import type { Decider } from './settle.ts'

export function deciderOf(parts: WriteParts): Decider {
  const { state } = parts.engine.parts
  return {
    publish: async (writeId, recovery) => void (await publishSealed(parts, writeId, { recovery, isGated: true })),
    rollBack: async ({ writeId, intent, seal }, reason, recovery) => {
      await rollbackWrite(parts, writeId, reason, { recovery, sealLsn: seal?.lsn ?? 0, ...(intent === undefined ? {} : { baseLsn: Number(intent.baseLsn) }) })
    },
    gates: ({ seal, intent }: Subject) => {
      // Nothing holds a table's gate for a write that was never sealed: its rows are nowhere.
      const tables = seal === undefined ? [] : (intent?.participants ?? []).flatMap(({ tableId }) => state.tables.get(tableId) ?? [])
      const isSchema = intent !== undefined && (intent.kind === 'schema' || intent.registrations.length > 0 || intent.tombstones.length > 0)
      return parts.engine.gates.take({ ...rowGates(parts.engine, tables), ...(isSchema ? { schema: 'exclusive' as const } : {}) })
    },
  }
}

/** Keys of a sealed participant that the log wrote since it was prepared, for people. @throws StorageError, HistoryUnavailableError */
export async function overlapOf(parts: WriteParts, seal: PendingSeal, participant: Participant, limit: number): Promise<readonly string[]> {
  const { root, world, state } = parts.engine.parts
  const table = state.tables.get(participant.tableId)
  const keys = await keysOf(StagingArea.adopt(root, world, seal.intent.writeId), participant)
  if (keys === undefined || table === undefined) return []
  const found = await writtenKeys(parts, table, keys, { from: Number(participant.expectedVersion), to: state.applied }, undefined)
  const view = resolveView(tableFromSchema(table.schema), table.schema)
  const texts = found.keys.slice(0, limit).map((text) => formatKey(keyObjectFromBytes(view, keyBytesOf(text))))
  const tuples = found.tuples.slice(0, limit - texts.length).map(({ layout, tuple }) => `unique ${tupleOf(view, layout, tuple).text}`)
  return [...texts, ...tuples]
}
