// recovery/decider.ts: recovery's hands: the steps of write/ that publish and roll back, under the gates that the owner of the write would hold.

import type { PendingSeal } from '../catalog/index.ts'
import { keyBytesOf, rowGates, tupleOf } from '../engine/index.ts'
import type { Intent, Participant } from '../format/index.ts'
import { StagingArea } from '../staging/index.ts'
import { formatKey, keyObjectFromBytes, resolveView, tableFromSchema } from '../table/index.ts'
import { keysOf, publishSealed, rollbackWrite, type WriteParts, writtenKeys } from '../write/index.ts'
import { idHex, type Subject } from './observe.ts'
import type { Decider } from './settle.ts'

/** What writes to the branch that a write was prepared for; in memory until it is disposed. undefined: the branch is gone. */
export type LeaseOf = (intent: Intent) => Promise<(Disposable & { readonly parts: WriteParts }) | undefined>

/** @param parts  of main */
export function deciderOf(parts: WriteParts, leaseOf: LeaseOf): Decider {
  const { pending } = parts.engine.parts.state.catalog.outcomes
  return {
    publish: async (writeId, recovery) => {
      const seal = pending.get(idHex(writeId))
      using lease = seal === undefined ? undefined : await leaseOf(seal.intent)
      await publishSealed(lease?.parts ?? parts, writeId, { recovery, isGated: true })
    },
    rollBack: async ({ writeId, intent, seal }, reason, recovery) => {
      await rollbackWrite(parts, writeId, reason, { recovery, sealLsn: seal?.lsn ?? 0, ...(intent === undefined ? {} : { baseLsn: Number(intent.baseLsn) }) })
    },
    gates: async ({ seal, intent }: Subject) => {
      const isSchema = intent !== undefined && (intent.kind === 'schema' || intent.registrations.length > 0 || intent.tombstones.length > 0)
      using lease = intent === undefined ? undefined : await leaseOf(intent)
      const { engine } = lease?.parts ?? parts
      // Nothing holds a table's gate for a write that was never sealed, or whose branch is gone: its rows are nowhere.
      const participants = seal === undefined || (intent !== undefined && lease === undefined) ? [] : (intent?.participants ?? [])
      const tables = participants.flatMap(({ tableId }) => engine.parts.state.tables.get(tableId) ?? [])
      return engine.gates.take({ ...rowGates(engine, tables), ...(isSchema ? { schema: 'exclusive' as const } : {}) })
    },
  }
}

/** Keys of a sealed participant that the log wrote since it was prepared, for people. @throws StorageError, HistoryUnavailableError */
export async function overlapOf(leaseOf: LeaseOf, seal: PendingSeal, participant: Participant, limit: number): Promise<readonly string[]> {
  using lease = await leaseOf(seal.intent)
  if (lease === undefined) return []
  const { parts } = lease
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
