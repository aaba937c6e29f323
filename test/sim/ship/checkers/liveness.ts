// I16, I17 and I18: what is left when nothing more goes wrong.

import { digestInName } from '../../../../bindings/format/index.ts'
import { sha256 } from '../../../../bindings/kernels/index.ts'
import type { Checker } from '../checker.ts'
import { hex } from '../history.ts'

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

/** I17. When everything works again every voter is in_sync and has what the writer has. */
export function everybodyArrives(): Checker {
  const name = 'I17 everybody arrives'
  return {
    name,
    end(c) {
      const { writer } = c
      if (writer?.state !== 'open') return c.fail(name, `nobody writes on ${c.primary.name}`)
      const mayHalt = c.losses > 0 || [...c.rotten.values()].some(({ size }) => size > 0)
      const head = c.places.get(c.primary)!
      for (const { replicaId, state, reason, durableLsn } of writer.senders) {
        if (state === 'halted' && mayHalt) continue
        // The primary's own file is damaged: nobody gets it from there, and whoever needs it waits for a repair.
        if (state === 'needs_rebuild' && reason === 'hash_mismatch' && c.rotten.get(c.primary)!.size > 0) continue
        if (state !== 'in_sync') c.fail(name, `${replicaId} is ${state} (${reason}) at ${durableLsn}, the writer at ${head.lsn}`)
        const machine = c.machines.find((each) => each.name === (replicaId as string))!
        if (state === 'in_sync' && c.places.get(machine) !== head) c.fail(name, `${replicaId} ends at ${c.places.get(machine)!.lsn}, the writer at ${head.lsn}`)
      }
    },
  }
}
