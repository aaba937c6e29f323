// Sessions and fencing of one sender: the lines S of shipping.md section 16.
import { describe, expect, it } from 'vitest'

import { catchingUp, hello, history, makeSender, policy, shake } from './kit.ts'

describe('a sender', () => {
  it('S1 starts disconnected, without a session, at the endpoint and epoch it was given', () => {
    const sender = makeSender(policy(), 3)
    expect(sender.status()).toMatchObject({ state: 'disconnected', session: null, epoch: 3, endpoint: { data: 'r1:7001', version: 1 }, streaming: false })
  })

  it('goes through a catch-up', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    expect(sender.state).toBe('catching_up')
    sender.recordProgress(id, 85)
    sender.recordProgress(id, 100)
    const grant = sender.completeCatchUp(id)
    expect(grant).toMatchObject({ cursor: 101, pinnedFrom: 100 })
    expect(sender.status()).toMatchObject({ state: 'in_sync', session: null })
  })

  it('needs a rebuild beyond retention', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    expect(shake(sender, id, hello({ durableLsn: 10 }), history({ tailLsn: 30 }))).toMatchObject({ outcome: 'needs_rebuild', reason: 'gap_beyond_retention' })
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', session: null })
  })
})
