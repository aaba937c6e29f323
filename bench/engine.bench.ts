// bench/engine.bench.ts: the engine from end to end, through the public door, beside the engines a user would otherwise take (docs/benchmarks.md).
import { commits } from './engine/commits.ts'
import { facts } from './engine/facts.ts'
import { failpoints } from './engine/failpoints.ts'
import { history } from './engine/history.ts'
import { loads } from './engine/loads.ts'
import { reads } from './engine/reads.ts'
import { reopen } from './engine/reopen.ts'
import type { Suite } from './suite.ts'

/** In this order: what fills memory comes late, what needs a quiet disk early. */
export const PARTS: Readonly<Record<string, (suite: Suite) => Promise<void>>> = { commits, history, reopen, reads, loads, facts, failpoints }
