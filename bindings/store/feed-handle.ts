// store/feed-handle.ts: the iterator that changes() hands out: pulls from the feed, and can be ended while it waits for the next commit.

export class FeedHandle<T> implements AsyncIterableIterator<T, undefined> {
  private readonly source: AsyncGenerator<T, undefined>
  private readonly stop: () => void

  /** `stop` makes a waiting source end. */
  constructor(source: AsyncGenerator<T, undefined>, stop: () => void) {
    this.source = source
    this.stop = stop
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.source.next()
  }

  /** What `break` calls: everything held is let go at once. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.stop()
    return this.source.return(undefined)
  }

  throw(error: unknown): Promise<IteratorResult<T, undefined>> {
    this.stop()
    return this.source.throw(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }
}
