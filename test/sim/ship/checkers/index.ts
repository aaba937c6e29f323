// Every checker of a run: the invariants I1 to I18 of shipping.md section 17.

import type { Checker } from '../checker.ts'
import { ackedIsKept } from './acked.ts'
import { nothingUnsyncedIsShown, rowsAreTheFold } from './state.ts'

export const CHECKERS: readonly (() => Checker)[] = [ackedIsKept, rowsAreTheFold, nothingUnsyncedIsShown]
