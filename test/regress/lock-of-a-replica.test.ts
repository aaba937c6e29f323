// A replica whose folder was taken by another process, or deleted, told its primary that it was fenced, in numbers of its LOCK. The primary took them for an epoch
// above its own: it ended all shipping and refused writes.
import { readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'

import { MemoryRoot } from '../../bindings/root/index.ts'
import { Flow, until, WAYS } from '../ship/flow/flow-kit.ts'
import { tempDirectory } from '../unit/store/places.ts'

it('a replica that lost the LOCK of its folder fences nobody: the others follow, writes go on', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
  const place = tempDirectory()
  const lost = await flow.replica('r1', place)
  await flow.replica('r2', new MemoryRoot({}))
  await flow.write(20)
  await flow.ship()
  await flow.equal()
  for (const name of await readdir(place)) if (name.startsWith('LOCK')) await unlink(join(place, name))
  await flow.write(20)
  await until(() => flow.shipping!.status().replicas[0]!.lastError !== null)
  await flow.write(20)
  await flow.equal(['r2'], 1)
  const { fencedBy, replicas } = flow.shipping!.status()
  expect(fencedBy).toBe(0)
  expect(replicas[0]).toMatchObject({ id: 'r1', state: 'degraded', lastError: { code: 'ship.transport', message: expect.stringContaining('LOCK') as string } })
  expect(lost.status().failure).toMatchObject({ code: 'log.fenced' })
  await lost.close()
  // Whoever has the folder now.
  await flow.replica('r1', place)
  await flow.equal()
})
