// Every checker of a run: the invariants I1 to I18 of shipping.md section 17.

import type { Checker } from '../checker.ts'
import { ackedIsKept } from './acked.ts'
import { committedIsBorneOut, committedIsNeverCut, committedPrefixIsOne } from './commit.ts'
import { everyRecordOnce, onlyTheNewestChanges } from './fence.ts'
import { damageStaysWhereItIs, everybodyArrives } from './liveness.ts'
import { pinsAreNeeded } from './pins.ts'
import { endsOnce } from './records.ts'
import { debtsArePaid, inSyncIsEarned, oneSession, progressOrEnd, targetIsFrozen } from './sessions.ts'
import { nothingUnsyncedIsShown, rowsAreTheFold } from './state.ts'

export const CHECKERS: readonly (() => Checker)[] = [
  ackedIsKept,
  committedIsBorneOut,
  onlyTheNewestChanges,
  rowsAreTheFold,
  committedPrefixIsOne,
  everyRecordOnce,
  pinsAreNeeded,
  oneSession,
  inSyncIsEarned,
  targetIsFrozen,
  committedIsNeverCut,
  nothingUnsyncedIsShown,
  endsOnce,
  progressOrEnd,
  debtsArePaid,
  damageStaysWhereItIs,
  everybodyArrives,
]
