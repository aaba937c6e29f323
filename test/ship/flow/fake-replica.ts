// A link in memory and a replica that keeps what it is sent: the chain digest of each run is computed anew and compared with the one stated.
import { SessionFencedError, TransportError } from '../../../bindings/errors-ship.ts'
import type { Message } from '../../../bindings/format/index.ts'
import { errorMessage } from '../../../bindings/ship/error-frame.ts'
import type { Link, WireFrame } from '../../../bindings/ship/index.ts'
import { type OracleChain, oracleChain } from './oracle.ts'

class End implements Link {
  readonly peer: string
  readonly bufferedBytes = 0
  readonly #queue: WireFrame[] = []
  #ring: () => void = () => {}
  #ended: Error | null | undefined
  other!: End

  constructor(peer: string) {
    this.peer = peer
  }

  async send(frame: WireFrame): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended ?? new TransportError('closed')
    this.other.#queue.push(frame)
    this.other.#ring()
  }

  get frames(): AsyncIterable<WireFrame> {
    return this.#read()
  }

  async *#read(): AsyncGenerator<WireFrame> {
    for (;;) {
      const next = this.#queue.shift()
      if (next !== undefined) yield next
      else if (this.#ended === undefined) await new Promise<void>((resolve) => (this.#ring = resolve))
      else if (this.#ended === null) return
      else throw this.#ended
    }
  }

  async close(reason?: Error): Promise<void> {
    this.cut(reason ?? null)
    this.other.cut(null)
  }

  cut(reason: Error | null): void {
    this.#ended ??= reason
    this.#ring()
  }
}

/** Two ends of one connection. */
export function linkPair(): readonly [primary: End, replica: End] {
  const [a, b] = [new End('replica'), new End('primary')]
  a.other = b
  b.other = a
  return [a, b]
}

export type { End }

export interface FakeOptions {
  /** Called before an ack for everything received goes out; what it returns is acknowledged instead. */
  readonly ack?: (receivedLsn: number) => number | undefined | Promise<number | undefined>
  /** Answers questions of its own. */
  readonly answer?: (message: Message) => Message | undefined
}

/** Accepts what follows its last record; says so. */
export class FakeReplica {
  readonly records: OracleChain = oracleChain()
  readonly heard: Message[] = []
  durableLsn = 0
  committedLsn = 0
  readonly #o: FakeOptions

  constructor(o: FakeOptions = {}) {
    this.#o = o
  }

  async serve(link: Link): Promise<void> {
    try {
      let fence: { epoch: number; session: number } | undefined
      for await (const { epoch, session, message } of link.frames) {
        fence ??= { epoch, session }
        if (epoch !== fence.epoch || session !== fence.session) throw new SessionFencedError('another session')
        const { type } = message
        if (type !== 'entries' && type !== 'fragment') this.heard.push(message)
        const answer = await this.#answer(message)
        if (answer !== undefined) await link.send({ epoch, session, message: answer })
      }
    } catch (error) {
      await link.send({ epoch: 0, session: 0, message: errorMessage(error) }).catch(() => undefined)
      await link.close(error as Error)
    }
  }

  async #answer(message: Message): Promise<Message | undefined> {
    const own = this.#o.answer?.(message)
    if (own !== undefined) return own
    if (message.type === 'hello') {
      const { protocol, replicaId, storeId } = message
      const rest = { lineage: null, checkpoints: [], rebuildInProgress: null, epochSeen: 0, committedLsn: this.committedLsn }
      return { type: 'helloReply', protocol, replicaId, storeId, durableLsn: this.durableLsn, digest: this.records.digest(), ...rest }
    }
    if (message.type === 'grant') return { type: 'grantAck', durableLsn: this.durableLsn }
    if (message.type === 'heartbeat') this.committedLsn = Math.max(this.committedLsn, message.committedLsn)
    if (message.type !== 'entries') return undefined
    this.committedLsn = Math.max(this.committedLsn, message.committedLsn)
    const last = this.records.add(message)
    const durable = this.#o.ack === undefined ? last : await this.#o.ack(last)
    if (durable === undefined) return undefined
    this.durableLsn = durable
    return { type: 'ack', receivedLsn: last, durableLsn: durable, appliedLsn: durable }
  }
}
