// root/absent.ts: nothing of that name. A not-found is never a permission, I/O or space error (roots.md), so that absence may be believed.

import { StorageError } from '../errors.ts'
import type { Root } from './root.ts'

export function isNotFound(error: unknown): boolean {
  return error instanceof StorageError && error.class === 'notFound'
}

/** The whole object; undefined: there is none. @throws StorageError */
export async function getIfThere(root: Pick<Root, 'get'>, name: string): Promise<Uint8Array | undefined> {
  try {
    return (await root.get(name)).bytes
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}
