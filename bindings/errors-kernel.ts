// errors-kernel.ts: the error classes of kernels: their memory, LZ4, and inputs that are none. They are handed out by errors.ts.

import { type ErrorInit, VarveError } from './error-base.ts'

/** The kernel arena reached its limit. */
export class KernelMemoryExhaustedError extends VarveError {
  override readonly name: string = 'KernelMemoryExhaustedError'
  readonly wanted: number
  readonly limit: number
  constructor(message: string, init: ErrorInit<{ wanted: number; limit: number }>) {
    super('kernel.memory-exhausted', message, init)
    this.wanted = init.details.wanted
    this.limit = init.details.limit
  }
}

/** Growth was asked for while a read into a view is pending. */
export class KernelMemoryBusyError extends VarveError {
  override readonly name: string = 'KernelMemoryBusyError'
  constructor(message: string, init: ErrorInit<object> = { details: {} }) {
    super('kernel.memory-busy', message, init)
  }
}

/** LZ4 bytes are damaged. */
export class Lz4CorruptError extends VarveError {
  override readonly name: string = 'Lz4CorruptError'
  constructor(message: string, init: ErrorInit<object> = { details: {} }) {
    super('kernel.lz4-corrupt', message, init)
  }
}

/** A stated size is over the bound. */
export class Lz4TooLargeError extends VarveError {
  override readonly name: string = 'Lz4TooLargeError'
  readonly stated: number
  readonly limit: number
  constructor(message: string, init: ErrorInit<{ stated: number; limit: number }>) {
    super('kernel.lz4-too-large', message, init)
    this.stated = init.details.stated
    this.limit = init.details.limit
  }
}

/** An LZ4 frame feature that is not supported. */
export class Lz4UnsupportedError extends VarveError {
  override readonly name: string = 'Lz4UnsupportedError'
  readonly feature: string
  constructor(message: string, init: ErrorInit<{ feature: string }>) {
    super('kernel.lz4-unsupported', message, init)
    this.feature = init.details.feature
  }
}

/** More distinct values than the index width holds. */
export class DictionaryOverflowError extends VarveError {
  override readonly name: string = 'DictionaryOverflowError'
  readonly width: number
  constructor(message: string, init: ErrorInit<{ width: number }>) {
    super('kernel.dictionary-overflow', message, init)
    this.width = init.details.width
  }
}

/** More than 2 GiB of values in one column. */
export class OffsetOverflowError extends VarveError {
  override readonly name: string = 'OffsetOverflowError'
  readonly bytes: number
  constructor(message: string, init: ErrorInit<{ bytes: number }>) {
    super('kernel.offset-overflow', message, init)
    this.bytes = init.details.bytes
  }
}

/** Input that claimed an order has none. */
export class RunNotSortedError extends VarveError {
  override readonly name: string = 'RunNotSortedError'
  readonly row: number
  constructor(message: string, init: ErrorInit<{ row: number }>) {
    super('kernel.run-not-sorted', message, init)
    this.row = init.details.row
  }
}
