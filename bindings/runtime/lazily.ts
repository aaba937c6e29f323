// runtime/lazily.ts: a module that few need is loaded by the first call that does, and asked for once.
//
// Each import() of a module that is there already resolves its name again, which costs as much as a short read.

/** @param load `() => import('./replica.ts')`; one that failed is tried again */
export function lazily<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | undefined
  return () =>
    (loaded ??= load().catch((error: unknown) => {
      loaded = undefined
      throw error
    }))
}
