// bench/upkeep.bench.ts: what a store does by itself, and what it costs whoever writes meanwhile (issue 5). Figures, not contests: each part says what it found.
import type { FigureParts } from './figures.ts'
import { backup } from './upkeep/backup.ts'
import { branches } from './upkeep/branches.ts'
import { compacting } from './upkeep/compacting.ts'
import { gets } from './upkeep/gets.ts'
import { indexes } from './upkeep/indexed.ts'
import { memory } from './upkeep/memory.ts'
import { merging } from './upkeep/merging.ts'
import { trickle } from './upkeep/trickle.ts'

export const PARTS: FigureParts = { trickle, compacting, indexes, gets, memory, backup, branches, merging }
