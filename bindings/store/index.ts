// store/index.ts: Store.open, the one door.

import type { Root } from '../root/index.ts'
import { defaultWorld, isTraced, lazily, newUlid, traced } from '../runtime/index.ts'
import type { NodeRecord } from '../ship/index.ts'
import type { BackupReport, OpenOptions, RepairReport, RestoreOptions, ReadStore as ReadStoreType, WriteId } from '../table/index.ts'
export { forceUnlock, lockInfo } from './lock-door.ts'
import type { DoctorReport } from '../recovery/index.ts'
import { type DoctorOptions, doctorStore, repairStore, type RepairStoreOptions } from './repair-door.ts'
import { openHandle } from './opening.ts'
import type { FenceTarget, Observed, ObserveTarget } from './observe.ts'
import type { Replica as ReplicaType, ReplicaOptions } from './replica.ts'
export type { FenceTarget, Observed, ObserveTarget } from './observe.ts'
import type { ShipOptions } from './ship-options.ts'
import type { Shipping } from './shipping.ts'
import type { Store as StoreType } from './store.ts'

export type ReadStore = ReadStoreType
export type Store = StoreType

export type { DoctorOptions, RepairStoreOptions } from './repair-door.ts'
export type { ReplicaGiven, ReplicaTarget, ShipOptions, ShipRetention } from './ship-options.ts'
export type { ReplicaProgress, Shipping, ShippingEvents, ShippingStatus } from './shipping.ts'

export type { PromoteOptions, ReplicaEvents, ReplicaOptions, ReplicaStatus } from './replica.ts'

export interface StoreOpener {
  /** Open for reading beside a writer of any process: no lock, no writes. */
  open(root: string | URL | Root, o: OpenOptions & { readOnly: true }): Promise<ReadStore>
  /**
   * Open, or make, the store at `root`: "memory:", "memory:name", a path, or a file: URL.
   *
   * @throws LockHeldError, OpenLockTimeoutError, NotAStoreError, StoreExistsError, CorruptionError, StoreTooNewError, InvalidConfigError, StorageError
   * @cost some five syncs; reads the log since the newest checkpoint
   * @example await using store = await Store.open('./data')
   */
  open(root: string | URL | Root, o?: OpenOptions): Promise<Store>
  /**
   * A store made of a backup, or of another store, as it was at `at`: an LSN, a time or the name of a tag. `to` must be empty; a restore that was cut off goes on.
   *
   * @throws StoreExistsError, NotAStoreError, HistoryUnavailableError, CorruptionError, LockHeldError, OpenLockTimeoutError, StorageError
   * @cost reads `from` whole
   * @example await Store.restore('/backups/data', './data', { at: new Date('2026-11-20T12:00:00Z') })
   */
  restore(from: string | URL | Root, to: string | URL | Root, o?: RestoreOptions): Promise<BackupReport>
  /**
   * Put right what can be, also in a store that does not open. A preview, which takes no lock and changes nothing, unless `confirm`.
   *
   * @throws PendingIntentError, LockHeldError, OpenLockTimeoutError, NotAStoreError, StoreTooNewError, InvalidConfigError (dropAfter), StorageError
   * @cost reads and verifies everything the store has
   * @example const { actions, lost } = await Store.repair('./data')
   */
  repair(root: string | URL | Root, o?: RepairStoreOptions): Promise<RepairReport>
  /**
   * What is pending, damaged or drifting, and who would do what about it; also of a store that does not open. Takes no lock and changes nothing.
   *
   * @throws NotAStoreError, StoreTooNewError, StorageError
   * @cost reads and verifies everything the store has
   * @example const { ok, findings } = await Store.doctor('./data')
   */
  doctor(root: string | URL | Root, o?: DoctorOptions): Promise<DoctorReport>
}

function open(root: string | URL | Root, o?: OpenOptions): Promise<Store> {
  return isTraced('open')
    ? traced(
        'open',
        {},
        () => openHandle(root, o),
        ({ id, lsn }) => ({ storeId: id, lsn }),
      )
    : openHandle(root, o)
}

/** A new name for one write, to ask outcome() about later. */
export function newWriteId(): WriteId {
  return newUlid(defaultWorld()) as WriteId
}

/**
 * Keep replicas equal to `store`: the same as `store.ship(o)`.
 *
 * @example await using shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: '10.0.0.2:7000' }], ack: 'async', key })
 */
export function ship(store: Store, o: ShipOptions): Promise<Shipping> {
  return store.ship(o)
}

export const Store: StoreOpener = {
  open: open as StoreOpener['open'],
  restore: async (from, to, o) => await (await import('./backup.ts')).restoreStore(from, to, o),
  repair: repairStore,
  doctor: doctorStore,
}

export type Replica = ReplicaType

export interface ReplicaOpener {
  /**
   * Hold a copy of a primary's store at `root`, and keep up with it. An empty root becomes a replica of whichever primary reaches it first; the root of a former
   * primary comes back as a replica of the present one.
   *
   * @throws LockHeldError, OpenLockTimeoutError, StoreMismatchError, ReplicaMismatchError, InvalidReplicaIdError, InvalidEndpointError, InvalidConfigError, CorruptionError, StorageError
   * @cost some five syncs; reads the log since the newest checkpoint
   * @example await using replica = await Replica.open('./copy', { replicaId: 'r1', listen: '127.0.0.1:7401' })
   */
  open(root: string | URL | Root, o: ReplicaOptions): Promise<Replica>
}

const replicas = /* #__PURE__ */ lazily(() => import('./replica.ts'))

export const Replica: ReplicaOpener = {
  open: async (root, o) => await (await replicas()).openReplica(root, o),
}

/**
 * Ask a replica how far it got, beside whoever ships to it: nobody is fenced, nothing is changed.
 *
 * @param address  `host:port`, as its `listen` has it
 * @throws TransportError when nobody answers; AuthError; StoreMismatchError, ReplicaMismatchError; InvalidEndpointError
 * @example const { durableLsn, digest } = await observe('127.0.0.1:7401')
 */
export async function observe(address: string, o: ObserveTarget = {}): Promise<Observed> {
  return await (await import('./observe.ts')).observeAt(address, o)
}

/**
 * Before a promotion: the replica there refuses every primary below the epoch from now on, and says what it holds. The records of enough fenced nodes, given to
 * candidates(), tell who may be promoted, at that epoch. The same as `replica.fence()`, from anywhere.
 *
 * @param address  `host:port`, as its `listen` has it
 * @throws StaleEpochError when it has seen a newer epoch; TransportError when nobody answers; AuthError; StoreMismatchError, ReplicaMismatchError
 * @example const records = await Promise.all(addresses.map((address) => fence(address, { epoch })))
 */
export async function fence(address: string, o: FenceTarget): Promise<NodeRecord> {
  return await (await import('./observe.ts')).fenceAt(address, o)
}
