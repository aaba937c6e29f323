// I16, I17 and I18: what is left when nothing more goes wrong.

import { digestInName } from '../../../../bindings/format/index.ts'
import { sha256 } from '../../../../bindings/kernels/index.ts'
import type { Checker } from '../checker.ts'
import type { Cluster } from '../cluster.ts'
import { hex, isBefore, type Place } from '../history.ts'
import type { Machine } from '../machine.ts'

/** I16. A file that is damaged is never taken over: what lies on a disk under a content's name is that content, but where a bit of this disk turned over. */
export function damageStaysWhereItIs(): Checker {
  const name = 'I16 a damaged file is never taken over'
  const look = (c: Parameters<NonNullable<Checker['event']>>[0]): void => {
    for (const machine of c.machines) {
      for (const file of machine.files(/^(fragments|indexes)\//)) {
        const wanted = digestInName(file)
        if (wanted === undefined || c.rotten.get(machine)!.has(file)) continue
        const found = sha256(machine.root.getSync(file).bytes)
        if (hex(found) !== wanted) c.fail(name, `${machine.name} holds ${file}, whose bytes have SHA-256 ${hex(found).slice(0, 16)}`)
      }
    }
  }
  return {
    name,
    moved(c, _, __, move) {
      if (move === 'install') look(c)
    },
    end: look,
  }
}

/** I17. When everything works again every voter is in_sync and has what the writer has, and all of it is committed. */
export function everybodyArrives(): Checker {
  const name = 'I17 everybody arrives'
  /** Why the last attempt for a replica failed, or its stream: a file that is found damaged is named. */
  const failed = new Map<string, string>()
  return {
    name,
    noted(_, __, { event, replicaId, fields, detail }) {
      const isDamage = event === 'degraded' || fields['reason'] === 'hash_mismatch'
      if (event === 'session_failed' || event === 'degraded') failed.set(replicaId!, isDamage ? detail : '')
    },
    end(c) {
      const { writer } = c
      if (writer?.state !== 'open') return c.fail(name, `nobody writes on ${c.primary.name}`)
      if (writer.senders.every(({ state }) => state === 'in_sync') && writer.committed < Number(writer.log!.head))
        c.fail(name, `everybody is in sync, and C = ${writer.committed} of ${writer.log!.head}`)
      const mayHalt = c.losses > 0 || [...c.rotten.values()].some(({ size }) => size > 0)
      const head = c.places.get(c.primary)!
      for (const { replicaId, state, reason, durableLsn } of writer.senders) {
        // Of epochs that nobody decided on, above those of the writer: a person looks at it (decision 0029).
        const isUnasked = [...c.unasked].some(({ name: each }) => each === (replicaId as string))
        if (state === 'halted' && (mayHalt || (isUnasked && reason === 'split_history'))) continue
        // They part below where the primary's log begins, and of epochs that ended there it knows nothing any more: a person looks at that, too (decision 0026).
        if (state === 'halted' && reason === 'committed_truncation' && parting(c.places.get(replica(c, replicaId))!, head) < Number(writer.log!.tail)) continue
        // The primary's own file is damaged: nobody gets it from there, and whoever needs it waits for a repair, or tries again just now. It is told which.
        const why = failed.get(replicaId) ?? ''
        if (state !== 'in_sync' && [...c.rotten.get(c.primary)!].some((file) => why.includes(`${file}: SHA-256`))) continue
        if (state !== 'in_sync') c.fail(name, `${replicaId} is ${state} (${reason}) at ${durableLsn}, the writer at ${head.lsn}`)
        const machine = replica(c, replicaId)
        if (state === 'in_sync' && c.places.get(machine) !== head) c.fail(name, `${replicaId} ends at ${c.places.get(machine)!.lsn}, the writer at ${head.lsn}`)
      }
    },
  }
}

function replica(c: Cluster, id: string): Machine {
  return c.machines.find(({ name }) => name === id)!
}

/** LSN up to which two logs are one. */
function parting(a: Place, b: Place): number {
  let at = a
  while (!isBefore(at, b)) at = at.parent!
  return at.lsn
}
