// store/backup.ts: backup() of an open store and Store.restore(): who copies what where. How: copy-store.ts.

import { decodeIdentity, IDENTITY_NAME } from '../log/index.ts'
import { openRoot, type Root } from '../root/index.ts'
import { fillWorld, type World } from '../runtime/index.ts'
import type { BackupOptions, BackupReport, RestoreOptions } from '../table/index.ts'
import { type CopySource, copyStore } from './copy-store.ts'
import { type CopyIdentity, CopyTarget } from './copy-target.ts'
import { checkKnown } from './known-options.ts'
import { wire } from './wiring.ts'

const STORE_ID_BYTES = 16

/** @param head  the newest position that is durable */
export async function backupStore(source: CopySource, place: string | URL | Root, head: number, o: BackupOptions): Promise<BackupReport> {
  checkKnown('backup', o, ['at', 'signal', 'onProgress'])
  o.signal?.throwIfAborted()
  const lsn = o.at === undefined ? head : (await source.history.resolve(o.at, head)).lsn
  return await withRoot(place, source.world, async (root) => {
    const target = await CopyTarget.take(root, source.world, 'backup', await identityOf(source), false)
    return await copied(source, target, lsn, o)
  })
}

/** @internal Store.restore */
export async function restoreStore(from: string | URL | Root, to: string | URL | Root, o: RestoreOptions = {}): Promise<BackupReport> {
  checkKnown('restore', o, ['at', 'newId', 'signal', 'onProgress', 'world'])
  const { signal, newId = false } = o
  const world = fillWorld(o.world)
  const source = await wire(from, {
    readOnly: true,
    follow: false,
    ...(signal === undefined ? {} : { signal }),
    ...(o.world === undefined ? {} : { world: o.world }),
  })
  try {
    const head = source.state.applied
    const lsn = o.at === undefined ? head : (await source.history.resolve(o.at, head)).lsn
    return await withRoot(to, world, async (root) => {
      const own = await identityOf(source)
      const identity = newId ? { ...own, storeId: world.random.bytes(STORE_ID_BYTES), createdMs: Math.floor(world.clock.nowMs()) } : own
      const target = await CopyTarget.take(root, world, 'restoring', identity, newId)
      return await copied(source, target, lsn, o)
    })
  } finally {
    await source.release()
  }
}

async function copied(source: CopySource, target: CopyTarget, lsn: number, o: BackupOptions): Promise<BackupReport> {
  try {
    return await copyStore(source, target, lsn, { signal: o.signal, onProgress: o.onProgress })
  } finally {
    await target.release()
  }
}

/** A log of slots stays one: its writers may have taken turns, which segments cannot hold. */
async function identityOf({ root, storeId }: CopySource): Promise<CopyIdentity> {
  const { createdMs, log } = decodeIdentity((await root.get(IDENTITY_NAME)).bytes)
  return { storeId, createdMs, layout: log }
}

async function withRoot<T>(place: string | URL | Root, world: World, work: (root: Root) => Promise<T>): Promise<T> {
  const root = await openRoot(place, world)
  try {
    return await work(root)
  } finally {
    if ((root as unknown) !== place) await root[Symbol.asyncDispose]()
  }
}
