// log/base-writer.ts: the log of the next generation while its base is being transferred (log.md section 5).
//
// Its records go into segments of their own beside the log that still counts, verified and durable as they come; install() makes it the log in one step.
// Invariant: until then nobody reads it, and the next open removes what is there.
import { BaseIncompleteError } from '../errors-ship.ts'

import type { Base } from './bases.ts'
import { sameBytes } from './digest.ts'
import type { ReplicaLine } from './replica-reader.ts'
import { lsnOf, placeOf } from './replica-steps.ts'

export interface InstallOptions {
  readonly manifestHash: Uint8Array
  /** Names of all checkpoints of the manifest, that at its base among them. Each is durable at its placeOf(), or verified under its own name. */
  readonly checkpoints: readonly string[]
}

export class BaseWriter {
  readonly base: Base
  readonly #line: ReplicaLine
  readonly #install: (writer: BaseWriter, base: Base, line: ReplicaLine) => Promise<void>
  readonly #abort: (writer: BaseWriter) => Promise<void>

  /** @internal use ReplicaLog.beginBase */
  constructor(
    base: Base,
    line: ReplicaLine,
    install: (writer: BaseWriter, base: Base, line: ReplicaLine) => Promise<void>,
    abort: (writer: BaseWriter) => Promise<void>,
  ) {
    this.base = base
    this.#line = line
    this.#install = install
    this.#abort = abort
  }

  /** The record that comes next; base.baseLsn + 1 when there is none left. */
  get nextLsn(): number {
    return this.#line.queue.received + 1
  }

  /** As ReplicaLog.receive, for the records (tailLsn, baseLsn]. @throws StorageError also where the log would be poisoned: only this base takes no more then */
  receive(first: number, bytes: Uint8Array, offsets: Uint32Array, digest: Uint8Array): Promise<number> {
    return this.#line.queue.receive(first, bytes, offsets, digest)
  }

  /** Where a checkpoint of the base is to be put until install(): under its own name the log that still counts may have another one. */
  placeOf(checkpoint: string): string {
    return placeOf(this.base.generation, checkpoint)
  }

  /**
   * The switch: when it resolves, this is the log. Everything that the manifest names is durable before.
   *
   * @throws BaseIncompleteError (nothing was changed), CommittedTruncationError, PoisonedError, FencedError
   */
  async install(o: InstallOptions): Promise<void> {
    const { queue, writer } = this.#line
    const { baseLsn, digest } = this.base
    await queue.drain()
    if (queue.durable !== baseLsn || !sameBytes(writer.digest, digest)) {
      throw new BaseIncompleteError(`the records of the base reach LSN ${queue.durable}, or not the digest that it states at ${baseLsn}`, {
        details: { reached: BigInt(queue.durable), baseLsn: BigInt(baseLsn) },
      })
    }
    const checkpoints = o.checkpoints.map(lsnOf).sort((a, b) => a - b)
    if (checkpoints.at(-1) !== baseLsn) {
      throw new BaseIncompleteError(`the base at ${baseLsn} has no checkpoint there`, {
        details: { reached: BigInt(checkpoints.at(-1) ?? 0), baseLsn: BigInt(baseLsn) },
      })
    }
    await this.#install(this, { ...this.base, manifestHash: o.manifestHash, checkpoints }, this.#line)
  }

  /** Gives up: what was transferred of its log goes. */
  abort(): Promise<void> {
    return this.#abort(this)
  }
}
