// kernels/scratch.ts: a stretch of kernel memory for the length of one computation, on the thread's shared instance.
//
// Invariant: everything reserved inside `run` is given back when it returns or throws, so nothing of it may be kept: results are copied out.
import { kernels } from './instance.ts'
import type { KernelInstance } from './instance.ts'

/** Runs with the shared instance; what `run` reserves is scratch. Nests. */
export function scratch<T>(run: (k: KernelInstance) => T): T {
  const k = kernels()
  const mark = k.arena.mark()
  try {
    return run(k)
  } finally {
    k.arena.rewind(mark)
  }
}
