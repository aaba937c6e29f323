// log/slot-view.ts: what every handle on a log of slots shows of its chain, whether it writes too or only reads.
import type { Digest, Epoch, LogBatch, Lsn } from './commit-log.ts'
import type { SlotChain } from './slot-chain.ts'

export abstract class SlotView {
  readonly shared = true as const
  protected readonly chain: SlotChain

  constructor(chain: SlotChain) {
    this.chain = chain
  }

  /** Throws when the handle takes no more calls. */
  protected abstract check(): void

  get head(): Lsn {
    return BigInt(this.chain.head) as Lsn
  }

  get durableHead(): Lsn {
    return this.head
  }

  get tail(): Lsn {
    return BigInt(this.chain.tail) as Lsn
  }

  get lineage(): readonly { readonly epoch: Epoch; readonly firstLsn: Lsn }[] {
    return this.chain.lineage.map(({ epoch, firstLsn }) => ({ epoch: BigInt(epoch) as Epoch, firstLsn: BigInt(firstLsn) as Lsn }))
  }

  get bytes(): number {
    return this.chain.bytes
  }

  get segments(): number {
    return this.chain.slots.length
  }

  get highestEpoch(): number {
    return this.chain.epoch
  }

  async *read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    const end = o.end === undefined ? this.chain.head : Math.min(Number(o.end), this.chain.head)
    yield* this.chain.read(Number(start), end, () => {
      this.check()
      o.signal?.throwIfAborted()
    })
  }

  async digestAt(lsn: Lsn): Promise<Digest> {
    this.check()
    return this.chain.digestAt(Number(lsn))
  }
}
