// ship/subscribers.ts: who hears of something. Invariant: a listener that throws is dropped and never disturbs what it listens to.

export class Subscribers<T> {
  readonly #listeners = new Set<(of: T) => void>()

  /** @returns what ends the subscription */
  add(fn: (of: T) => void): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }

  tell(of: T): void {
    for (const fn of Array.from(this.#listeners)) {
      try {
        fn(of)
      } catch {
        this.#listeners.delete(fn)
      }
    }
  }
}
