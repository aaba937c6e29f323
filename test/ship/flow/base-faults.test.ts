// A disk that fails under the log of a base on its way: that base is given up, the next one comes, and the log that the replica has goes on. It was poisoned along with
// it, without a word: `failed` was not told, status() had no failure, and no session came through any more until the replica was opened again.
import { describe, expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FaultyRoot } from '../../../bindings/testing/index.ts'
import { Flow, until, WAYS } from './flow-kit.ts'

const isOfBase = (name: string): boolean => /^log\.\d/.test(name)

describe('an I/O error under the log of a base', () => {
  it.each([
    ['the first segment of it', 'segment', 1],
    ['the first write', 'segment.write', 1],
    ['the first sync', 'segment.datasync', 1],
    ['a later sync', 'segment.datasync', 3],
    ['its name', 'link', 1],
  ] as const)('%s: the rebuild comes with the next session', async (_what, method, at) => {
    const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
    const root = new FaultyRoot(new MemoryRoot({}))
    const replica = await flow.replica('r1', root)
    let failed = 0
    replica.on('failed', () => failed++)
    const shipping = await flow.ship()
    for (let i = 0; i < 40; i++) await flow.write(1)
    await shipping.settled()
    let calls = 0
    root.plan((call) => (call.method === method && isOfBase(call.name) && ++calls === at ? { error: 'io' } : undefined))
    await shipping.rebuild('r1')
    await until(() => calls >= at && shipping.status().inSync === 1)
    await flow.write(10)
    await flow.equal()
    expect([failed, replica.status().failure, replica.status().generation]).toEqual([0, undefined, 1])
  })
})
