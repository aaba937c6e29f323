// table/types-ack.ts: public types of acknowledgement: whom commits wait for.

export type { AckMode } from '../format/index.ts'

/** Of setAckMode(). */
export interface AckModeOptions {
  /**
   * The change counts as soon as it is durable here, with everything before it, whatever the mode before asks for: for when replicas are gone for good. What they
   * hold and this store does not is given up.
   */
  force?: boolean
}

/** Of a single write. */
export interface AckWriteOptions {
  /** Wait for more nodes than the store's mode asks for: 'quorum', a majority, or 'all'. Less is AckModeWeakenedError. */
  ack?: 'quorum' | 'all'
  /** Write although too few replicas are reachable: the commit stays open until they are back, and may reject with AckTimeoutError. */
  allowIndeterminate?: boolean
}
