// Whom a node follows (decisions 0030 and 0035), for any order of greetings, fences, failing disks and restarts: one decision of a number, and none below what was promised.
import fc from 'fast-check'
import { expect, it } from 'vitest'

import { mandateOfClaim, mandateOfPromotion } from '../../../bindings/format/index.ts'
import { FailpointRegistry } from '../../../bindings/runtime/index.ts'
import { type AcceptedFence, ReplicaHost } from '../../../bindings/ship/index.ts'

const DECISIONS = ['aa', 'bb', 'cc'].map((byte) => byte.repeat(16))
const EPOCHS_MAX = 12

interface Accepted {
  readonly mandate: number
  readonly decision: string
}

/** A node: what NODE says, and the host of the process that is up. */
class Voter {
  durable: AcceptedFence & { readonly epochSeen: number } = { epoch: 0, session: 0, promised: 0, decision: '', epochSeen: 0 }
  fails = false
  host!: ReplicaHost

  constructor() {
    this.restart()
  }

  restart(): void {
    const { durable } = this
    const fence = async (newest: AcceptedFence): Promise<void> => {
      if (this.fails) throw new Error('the disk is full')
      this.durable = { ...newest, epochSeen: Math.max(this.durable.epochSeen, newest.epoch) }
    }
    const { epoch, session, promised, decision } = durable
    const facts = { storeId: new Uint8Array(16), followed: epoch, session, promised, decision, committedLsn: 0, lineage: [] }
    const seen = (): number => this.durable.epochSeen
    const parts = {
      ...facts,
      world: { failpoints: new FailpointRegistry() },
      fence,
      get epochSeen() {
        return seen()
      },
    }
    this.host = new ReplicaHost(parts as never)
  }

  /** @returns whether it follows that one now, durably so */
  async greeted(epoch: number, session: number, mandate: number, decision: string): Promise<boolean> {
    const link = { end: () => Promise.resolve() } as never
    return await this.host.take(link, { epoch, session, mandate, decision, storeId: new Uint8Array(16) }).catch(() => false)
  }
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant('hello' as const),
      epoch: fc.integer({ min: 1, max: EPOCHS_MAX }),
      session: fc.integer({ min: 1, max: 3 }),
      fencedAt: fc.integer({ min: 0, max: EPOCHS_MAX }),
      isPromotion: fc.boolean(),
      decision: fc.constantFrom(...DECISIONS),
    }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('fence' as const), epoch: fc.integer({ min: 1, max: EPOCHS_MAX }) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('restart' as const) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('disk' as const), fails: fc.boolean() }) },
)

it('a node follows one decision of a number, and never one below what it has answered to', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const voter = new Voter()
      const voted = new Map<number, string>()
      let promised = 0
      const accepted: Accepted[] = []
      for (const each of steps) {
        if (each.what === 'restart') voter.restart()
        else if (each.what === 'disk') voter.fails = each.fails
        else if (each.what === 'fence') {
          if (await voter.host.fence(each.epoch).catch(() => false)) promised = Math.max(promised, mandateOfClaim(each.epoch))
        } else {
          const mandate = each.fencedAt === 0 ? 0 : each.isPromotion ? mandateOfPromotion(each.fencedAt) : mandateOfClaim(each.fencedAt)
          const decision = mandate === 0 ? '' : each.decision
          if (!(await voter.greeted(each.epoch, each.session, mandate, decision))) continue
          accepted.push({ mandate, decision })
          expect(mandate).toBeGreaterThanOrEqual(promised)
          const number = Math.floor(mandate / 2)
          expect(decision).toBe(voted.get(number) ?? decision)
          expect(voter.durable).toMatchObject({ epoch: each.epoch, session: each.session, promised: mandate, decision })
          voted.set(number, decision)
          promised = mandate
        }
      }
      expect(accepted.map(({ mandate }) => mandate)).toEqual(accepted.map(({ mandate }) => mandate).toSorted((a, b) => a - b))
    }),
    { numRuns: 400 },
  )
})
