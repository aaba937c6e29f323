// store/store.ts: a store as it is handed out: what table/types-store.ts says of reading and writing, and shipping.

import type { Store as StoreType } from '../table/index.ts'
import type { ShipOptions } from './ship-options.ts'
import type { Shipping } from './shipping.ts'

export interface Store extends StoreType {
  /**
   * Keep replicas equal to this store, until the result is closed, or the store. What it needs is loaded by the first call; `varve/ship` has everything else.
   *
   * @throws InvalidConfigError, AckModeMismatchError, QuorumTooSmallError, DuplicateReplicaError, InvalidReplicaIdError, InvalidEndpointError
   * @example await using shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: '10.0.0.2:7000' }], ack: 'async', key })
   */
  ship(o: ShipOptions): Promise<Shipping>
}
