// store/gone-files.ts: a file that a vacuum of another process took is told as what it is: history that is gone (docs/vacuum.md, "Readers in other processes").
//
// A reader writes nothing, so nothing that it does holds a version for it. Invariant: a missing file is forgiven only when the log says that a vacuum named it.

import { decodeRecord, KIND_VACUUM, type StoreState } from '../engine/index.ts'
import { HistoryUnavailableError } from '../errors.ts'
import { isContentName } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { type GetOptions, isNotFound, type Root } from '../root/index.ts'

/** The root as readers of fragments, indexes and deletion vectors ask it. @param state  once there is one */
export function tellingGone(root: Root, log: CommitLog, state: () => StoreState | undefined): Root {
  const isGone = (name: string, error: unknown): boolean => isNotFound(error) && isContentName(name)
  const get = async (name: string, o?: GetOptions & { signal?: AbortSignal }): ReturnType<Root['get']> => {
    try {
      return await root.get(name, o)
    } catch (error) {
      if (!isGone(name, error)) throw error
      throw (await vacuumed(name, error as Error, log, state())) ?? error
    }
  }
  const getSync = (name: string, o?: GetOptions): ReturnType<Root['getSync']> => {
    try {
      return root.getSync(name, o)
    } catch (error) {
      const catalog = state()?.catalog
      if (catalog === undefined || !isGone(name, error) || !catalog.dead.has(name)) throw error
      throw goneError(name, catalog.fragmentFloor, error as Error)
    }
  }
  return new Proxy(root, {
    get(target, key) {
      if (key === 'get') return get
      if (key === 'getSync') return getSync
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

/** By what the state has folded, or by the records behind it, which a reader may not have asked for. */
async function vacuumed(name: string, cause: Error, log: CommitLog, state: StoreState | undefined): Promise<Error | undefined> {
  if (state === undefined) return undefined
  const { catalog } = state
  if (catalog.dead.has(name)) return goneError(name, catalog.fragmentFloor, cause)
  await log.refresh()
  for await (const batch of log.read(BigInt(catalog.lsn) as Lsn)) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn++)
      if (record.kind === KIND_VACUUM && record.vacuum.names.includes(name)) return goneError(name, record.vacuum.floor, cause)
    }
  }
  return undefined
}

function goneError(name: string, floor: number, cause: Error): HistoryUnavailableError {
  return new HistoryUnavailableError(`${name}: a vacuum took it; what can be read begins at LSN ${floor}`, {
    details: { asked: name, floor: BigInt(floor) },
    hint: 'Refresh, and read again: newer versions do not need it. A snapshot of the writing process, a tag or a branch would have held it.',
    cause,
  })
}
