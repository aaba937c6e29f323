// I4 and I12: what is shown is the fold of the log, and of what is durable only.

import type { Checker } from '../checker.ts'
import { isBefore } from '../history.ts'
import type { Process } from '../machine.ts'

/** I4. Rows are those that the writes up to there make, one after the other. */
export function rowsAreTheFold(): Checker {
  const name = 'I4 the state is the fold of the log'
  return {
    name,
    shown(c, machine, place, rows) {
      const wrong = rows.findIndex((value, key) => value !== place.rows[key])
      if (wrong >= 0) c.fail(name, `${machine.name} shows ${rows[wrong]} for key ${wrong} at LSN ${place.lsn}, not ${place.rows[wrong]}`)
    },
  }
}

/** I12. What a machine durably held it holds after any crash; it loses records by a truncation or an install alone. */
export function nothingUnsyncedIsShown(): Checker {
  const name = 'I12 nothing is shown that a crash would lose'
  /** By machine: the highest LSN that its replica has acknowledged as durable since its log was cut or replaced last. */
  const acked = new Map<string, number>()
  /**
   * A truncation or an install that may have been under way when the machine stopped: the process that was asked for it, and the LSN that it may leave at
   * least, until it is answered.
   */
  const underWay = new Map<string, { readonly process: Process | undefined; readonly leaves: number }>()
  return {
    name,
    frame(_, machine, way, { message }) {
      if (way === 'sent' && (message.type === 'ack' || message.type === 'grantAck'))
        acked.set(machine.name, Math.max(acked.get(machine.name) ?? 0, message.durableLsn))
      if (way === 'taken' && (message.type === 'truncate' || message.type === 'install'))
        underWay.set(machine.name, { process: machine.process, leaves: message.type === 'truncate' ? message.lsn : 0 })
      if (way === 'sent' && (message.type === 'truncated' || message.type === 'installed')) {
        const left = message.type === 'truncated' ? message.lsn : message.baseLsn
        acked.set(machine.name, Math.min(acked.get(machine.name) ?? 0, left))
        underWay.set(machine.name, { process: machine.process, leaves: Infinity })
      }
    },
    moved(c, machine, place, move, before) {
      const mayLose = move === 'truncate' || move === 'install' || (move === 'restart' && underWay.has(machine.name))
      // A process is looked at for the first time when it may have been asked already.
      if (move !== 'advance' && !(move === 'restart' && underWay.get(machine.name)?.process === machine.process)) underWay.delete(machine.name)
      if (mayLose) return void acked.set(machine.name, place.lsn)
      // Records may have come and been cut off between two looks, which is no move at all.
      const told = Math.min(acked.get(machine.name) ?? 0, underWay.get(machine.name)?.leaves ?? Infinity)
      if (!isBefore(before, place))
        c.fail(name, `${machine.name} held LSN ${before.lsn}, and after its ${move} (${machine.lastEnd}) its log ends at ${place.lsn}`)
      else if (place.lsn < told)
        c.fail(name, `${machine.name} acknowledged LSN ${told} as durable, and after its ${move} (${machine.lastEnd}) its log ends at ${place.lsn}`)
    },
  }
}
