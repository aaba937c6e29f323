// A group whose sync failed had advanced the writer's digest: digestAt(head) of the poisoned handle was that of records nobody acknowledged.
// Found by seed 708 of segment-log-recovery.
import { expect, it } from 'vitest'

import { PoisonedError } from '../../bindings/errors.ts'
import { lsn } from '../../bindings/log/index.ts'
import { chainOf, record } from '../../bindings/testing/contracts/log-records.ts'
import { Host } from '../contract/segment-log-helpers.ts'

it('a poisoned log still states the digest of its head', async () => {
  const host = new Host()
  const log = await host.open(host.process())
  await log.append([record(1)])
  host.files.failAt(1, { error: 'EIO' }, (call) => call.op === 'datasync')
  await expect(log.append([record(2)])).rejects.toBeInstanceOf(PoisonedError)
  expect(log.head).toBe(lsn(2))
  expect(await log.digestAt(log.head)).toEqual((await chainOf(log))[2])
})
