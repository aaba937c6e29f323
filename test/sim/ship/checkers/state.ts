// I4 and I12: what is shown is the fold of the log, and of what is durable only.

import type { Checker } from '../checker.ts'
import { isBefore } from '../history.ts'

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

/** I12. What a machine durably holds is there after any crash: a log that was seen to end at an LSN goes on from there, or was cut by a truncation. */
export function nothingUnsyncedIsShown(): Checker {
  const name = 'I12 nothing is shown that a crash would lose'
  const before = new Map<string, Parameters<NonNullable<Checker['moved']>>[2]>()
  return {
    name,
    moved(c, machine, place, move) {
      const last = before.get(machine.name)
      before.set(machine.name, place)
      if (last === undefined || move === 'truncate' || move === 'install') return
      if (!isBefore(last, place)) c.fail(name, `${machine.name} held LSN ${last.lsn}, and after a ${machine.lastEnd} its log ends at ${place.lsn}`)
    },
  }
}
