// store/repair-door.ts: doctor and repair of a store that may not open: the doors that need no handle.

import { InvalidConfigError, ReadOnlyError, VarveError } from '../errors.ts'
import type { Lsn } from '../log/index.ts'
import { type DoctorReport, examineStore, repairRoot } from '../recovery/index.ts'
import { openRoot, type Root } from '../root/index.ts'
import { fillWorld, type World } from '../runtime/index.ts'
import { ColumnCache, type RepairReport } from '../table/index.ts'
import { SharedContext } from './context.ts'
import { readIdentity } from './founding.ts'

const CACHE_BYTES = 64 * 1024 * 1024

export interface RepairStoreOptions {
  /** Default false: a preview, which changes nothing. */
  readonly confirm?: boolean
  /** The last LSN to keep of a damaged log; without it nothing of a log is dropped. */
  readonly dropAfter?: Lsn
  readonly signal?: AbortSignal
  /** A Partial<World>. */
  readonly world?: object
}

/** The options of repair and doctor, as strictly as those of an open. @throws InvalidConfigError */
export function checkDoorOptions(what: string, o: object, known: readonly (keyof RepairStoreOptions)[]): void {
  const refuse = (message: string, key: string, value: unknown): never => {
    throw new InvalidConfigError(message, { details: { key, value } })
  }
  if (typeof o !== 'object' || o === null) refuse(`${what} takes options, not ${String(o)}`, 'options', o)
  for (const [key, value] of Object.entries(o) as [keyof RepairStoreOptions, unknown][]) {
    if (!known.includes(key)) refuse(`${what} takes no option ${key}`, key, value)
    if (value === undefined) continue
    if (key === 'confirm' && typeof value !== 'boolean') refuse(`confirm must be true or false, got ${String(value)}`, key, value)
    if (key === 'dropAfter' && typeof value !== 'bigint') refuse(`dropAfter must be an LSN, a bigint, got ${String(value)}`, key, value)
    if (key === 'signal' && !(value instanceof AbortSignal)) refuse('signal is no AbortSignal', key, value)
  }
}

/** @internal Store.repair */
export async function repairStore(place: string | URL | Root, o: RepairStoreOptions = {}): Promise<RepairReport> {
  checkDoorOptions('repair', o, ['confirm', 'dropAfter', 'signal', 'world'])
  return await withParts(place, o, async (root, world, context) => {
    const { confirm, dropAfter, signal } = o
    if (confirm === true) await refuseCopy(root)
    return await repairRoot({ root, world, context, signal }, { confirm, dropAfter })
  })
}

/** A copy is put right by the next run of what makes it. @throws ReadOnlyError */
async function refuseCopy(root: Root): Promise<void> {
  const identity = await readIdentity(root).catch((error: unknown) => {
    if (error instanceof VarveError && error.kind === 'corrupt') return undefined
    throw error
  })
  if (identity?.copy === undefined) return
  throw new ReadOnlyError(`${root.url} is a copy of store ${identity.storeId}: it is not repaired`, {
    details: { url: root.url, storeId: identity.storeId },
    hint: 'Run the backup again: it copies what is missing. Or make the copy anew, in an empty place.',
  })
}

export type DoctorOptions = Pick<RepairStoreOptions, 'signal' | 'world'>

/** @internal Store.doctor */
export async function doctorStore(place: string | URL | Root, o: DoctorOptions = {}): Promise<DoctorReport> {
  checkDoorOptions('doctor', o, ['signal', 'world'])
  return await withParts(place, o, async (root, world, context) => await examineStore({ root, world, context, signal: o.signal }))
}

/** A root for one call, with what states are folded in. */
async function withParts<R>(
  place: string | URL | Root,
  o: { readonly world?: object; readonly signal?: AbortSignal },
  work: (root: Root, world: World, context: () => SharedContext) => Promise<R>,
): Promise<R> {
  o.signal?.throwIfAborted()
  const world = fillWorld(o.world)
  const root = await openRoot(place, world)
  try {
    return await work(root, world, () => new SharedContext(root, new ColumnCache(CACHE_BYTES), world))
  } finally {
    if ((root as unknown) !== place) await root[Symbol.asyncDispose]()
  }
}
