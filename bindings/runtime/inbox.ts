// runtime/inbox.ts: what arrives, for one reader that iterates: a queue between a source that pushes and a loop that pulls.
//
// Invariant: items come out in the order they were put, all of them before the end or the failure that followed them; nothing comes out after cut().

export class Inbox<T> implements AsyncIterableIterator<T> {
  readonly #taken: ((item: T) => void) | undefined
  #items: T[] = []
  #at = 0
  #closed = false
  /** Of a failed or cut inbox; told once. */
  #error: { readonly reason: unknown } | undefined
  #reader: { readonly resolve: (result: IteratorResult<T>) => void; readonly reject: (reason: unknown) => void } | undefined

  /** @param taken  told of each item as the reader takes it: how a source is paced */
  constructor(taken?: (item: T) => void) {
    this.#taken = taken
  }

  /** No effect once it has ended. */
  put(item: T): void {
    if (this.#closed) return
    const reader = this.#reader
    if (reader === undefined) {
      this.#items.push(item)
      return
    }
    this.#reader = undefined
    reader.resolve({ value: item, done: false })
    this.#taken?.(item)
  }

  /** After what was put, iteration ends, or throws `failure.reason`. The first end counts. */
  end(failure?: { readonly reason: unknown }): void {
    if (this.#closed) return
    this.#closed = true
    this.#error = failure
    this.#settle()
  }

  /** As end(), and nothing that was put comes out any more. */
  cut(failure?: { readonly reason: unknown }): void {
    this.#items = []
    this.#at = 0
    this.#closed = true
    this.#error = failure
    this.#settle()
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#at < this.#items.length) {
      const value = this.#items[this.#at]!
      this.#items[this.#at++] = undefined as T
      if (this.#at === this.#items.length || this.#at >= 1024) {
        this.#items.splice(0, this.#at)
        this.#at = 0
      }
      this.#taken?.(value)
      return Promise.resolve({ value, done: false })
    }
    if (!this.#closed) return new Promise((resolve, reject) => (this.#reader = { resolve, reject }))
    const error = this.#error
    this.#error = undefined
    return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error.reason as Error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #settle(): void {
    const reader = this.#reader
    if (reader === undefined) return
    this.#reader = undefined
    const error = this.#error
    this.#error = undefined
    if (error === undefined) reader.resolve({ value: undefined, done: true })
    else reader.reject(error.reason)
  }
}
