// A replica that keeps what it is sent: the chain digest of each run is computed anew and compared with the one stated.
import { SessionFencedError } from '../../../bindings/errors-ship.ts'
import type { Message } from '../../../bindings/format/index.ts'
import type { Link, LinkHost } from '../../../bindings/ship/index.ts'
import { type OracleChain, oracleChain } from './oracle.ts'

export interface FakeOptions {
  /** Called before an ack for everything received goes out; what it returns is acknowledged instead. */
  readonly ack?: (receivedLsn: number) => number | undefined | Promise<number | undefined>
  /** Answers questions of its own. */
  readonly answer?: (message: Message) => Message | undefined
  /** Does not say that it is there. */
  readonly isSilent?: boolean
}

/** Accepts what follows its last record; says so. */
export class FakeReplica implements LinkHost {
  readonly records: OracleChain = oracleChain()
  readonly heard: Message[] = []
  /** Every link that was ever accepted. */
  readonly links: Link[] = []
  /** `epoch.session` of each hello. */
  readonly sessions: string[] = []
  durableLsn = 0
  committedLsn = 0
  epochSeen = 0
  readonly #o: FakeOptions

  constructor(o: FakeOptions = {}) {
    this.#o = o
  }

  accept(link: Link): void {
    this.links.push(link)
    void this.serve(link)
  }

  async serve(link: Link): Promise<void> {
    try {
      let fence: { epoch: number; session: number } | undefined
      for await (const { epoch, session, message } of link.frames) {
        fence ??= { epoch, session }
        if (epoch !== fence.epoch || session !== fence.session) throw new SessionFencedError('another session')
        const { type } = message
        if (type === 'hello') this.sessions.push(`${epoch}.${session}`)
        if (type !== 'entries' && type !== 'fragment') this.heard.push(message)
        const answer = await this.#answer(message)
        if (answer !== undefined) await link.send({ epoch, session, message: answer })
      }
    } catch (error) {
      await link.close(error as Error)
    }
  }

  async #answer(message: Message): Promise<Message | undefined> {
    const own = this.#o.answer?.(message)
    if (own !== undefined) return own
    if (message.type === 'hello') {
      // What was not durable went with the link.
      this.records.cut(this.durableLsn)
      const { protocol, replicaId, storeId } = message
      const rest = {
        tailLsn: 0,
        lineage: null,
        checkpoints: [],
        rebuildInProgress: null,
        isWhole: true,
        elided: null,
        epochSeen: this.epochSeen,
        committedLsn: this.committedLsn,
      }
      return { type: 'helloReply', protocol, replicaId, storeId, durableLsn: this.durableLsn, digest: this.records.digest(), ...rest }
    }
    if (message.type === 'grant') return { type: 'grantAck', durableLsn: this.durableLsn }
    if (message.type === 'heartbeat') {
      this.committedLsn = Math.max(this.committedLsn, message.committedLsn)
      return this.#o.isSilent === true ? undefined : message
    }
    if (message.type !== 'entries') return undefined
    this.committedLsn = Math.max(this.committedLsn, message.committedLsn)
    const last = this.records.add(message)
    const durable = this.#o.ack === undefined ? last : await this.#o.ack(last)
    if (durable === undefined) return undefined
    this.durableLsn = durable
    return { type: 'ack', receivedLsn: last, durableLsn: durable, appliedLsn: durable }
  }
}
