// runtime/mutex.ts: one at a time, in the order of asking.

/** A fair asynchronous lock. */
export class Mutex {
  #tail: Promise<void> = Promise.resolve()
  #held = 0

  /** Whether somebody holds it or waits for it. */
  get busy(): boolean {
    return this.#held > 0
  }

  /** Resolves with the release function once it is our turn. Releasing twice does nothing. */
  async acquire(): Promise<() => void> {
    const before = this.#tail
    let release!: () => void
    this.#tail = new Promise((resolve) => (release = resolve))
    this.#held++
    await before
    let released = false
    return () => {
      if (released) return
      released = true
      this.#held--
      release()
    }
  }

  /** Runs `fn` alone; its error is passed on and the lock freed. */
  async run<T>(fn: () => Promise<T> | T): Promise<T> {
    const release = await this.acquire()
    try {
      return await fn()
    } finally {
      release()
    }
  }
}
