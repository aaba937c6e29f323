// store/lock-door.ts: whose the lock of a store is, and outranking it, without opening the store.

import { forceUnlock as outrank, unlockInfo, type UnlockInfo } from '../log/index.ts'
import { openRoot, type Root } from '../root/index.ts'
import { defaultWorld } from '../runtime/index.ts'

/** Whose the LOCK of the store at `root` is. Never throws for an unreadable one. */
export async function lockInfo(root: string | URL | Root): Promise<UnlockInfo> {
  return await withRoot(root, async (opened) => await unlockInfo(opened, defaultWorld()))
}

/**
 * Outrank a lock whose owner is gone, also where that cannot be proved (another host).
 *
 * @returns whose it was
 * @throws LockHeldError when the owner is a live process of this host
 */
export async function forceUnlock(root: string | URL | Root): Promise<UnlockInfo> {
  return await withRoot(root, async (opened) => await outrank(opened, defaultWorld()))
}

async function withRoot<R>(place: string | URL | Root, work: (root: Root) => Promise<R>): Promise<R> {
  const root = await openRoot(place, defaultWorld())
  try {
    return await work(root)
  } finally {
    if ((root as unknown) !== place) await root[Symbol.asyncDispose]()
  }
}
