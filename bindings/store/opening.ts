// store/opening.ts: a store opened for writing, or beside a writer: the handle, with what a crash left decided.

import type { Root } from '../root/index.ts'
import { isTraced, traced } from '../runtime/index.ts'
import type { Store } from './store.ts'
import { ReadOnlyHandle } from './read-only-store.ts'
import { type Promotion, wire } from './wiring.ts'
import { WriteHandle } from './write-store.ts'

/** @param promotion  the root of a replica that becomes the primary */
export async function openHandle(root: string | URL | Root, o: object | undefined, promotion?: Promotion): Promise<Store> {
  const opened = await wire(root, o, promotion)
  if (opened.options.readOnly) return new ReadOnlyHandle(opened) as unknown as Store
  const handle = new WriteHandle(opened)
  if (isTraced('recover')) {
    await traced(
      'recover',
      { storeId: handle.id },
      () => handle.recover(),
      () => ({ lsn: handle.lsn }),
    )
  } else await handle.recover()
  return handle as unknown as Store
}
