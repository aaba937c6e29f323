// Every checker of a run: the invariants I1 to I18 of shipping.md section 17.

import type { Checker } from '../checker.ts'
import { ackedIsKept } from './acked.ts'
import { askedIsBorneOut } from './asked.ts'
import { committedIsBorneOut, committedIsNeverCut, committedPrefixIsOne } from './commit.ts'
import { sameAcksSameBoundary, sameFactsSameDecision } from './decisions.ts'
import { everyRecordOnce, onlyTheNewestChanges } from './fence.ts'
import { stateIsTheFold } from './fold.ts'
import { damageStaysWhereItIs, everybodyArrives } from './liveness.ts'
import { pinsAreNeeded } from './pins.ts'
import { endsBeforeItLetsGo, lateAnswersAreRefused, progressIsItsOwn, streamGoesOn } from './progress.ts'
import { endsOnce } from './records.ts'
import { debtsArePaid, inSyncIsEarned, oneSession, progressOrEnd, targetIsFrozen } from './sessions.ts'
import { nothingUnsyncedIsShown, rowsAreTheFold } from './state.ts'

export const CHECKERS: readonly (() => Checker)[] = [
  ackedIsKept,
  askedIsBorneOut,
  committedIsBorneOut,
  onlyTheNewestChanges,
  progressIsItsOwn,
  lateAnswersAreRefused,
  rowsAreTheFold,
  stateIsTheFold,
  committedPrefixIsOne,
  everyRecordOnce,
  pinsAreNeeded,
  endsBeforeItLetsGo,
  oneSession,
  inSyncIsEarned,
  streamGoesOn,
  targetIsFrozen,
  committedIsNeverCut,
  nothingUnsyncedIsShown,
  endsOnce,
  progressOrEnd,
  debtsArePaid,
  damageStaysWhereItIs,
  everybodyArrives,
  sameFactsSameDecision,
  sameAcksSameBoundary,
]
