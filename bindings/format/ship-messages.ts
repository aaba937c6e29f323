// format/ship-messages.ts: the messages of shipping (docs/shipping.md "Frames"); their bytes are format/ship-codec.ts, the frame around them format/ship-frame.ts.
//
// LSNs are u64, digests 32 bytes, all little-endian. Bytes in a message that was decoded are views of what arrived where they are long (`bytes`), copies elsewhere;
// bytes of a message that was sent must not change until the link has closed or the other side has answered.
import type { Mark } from './mandate.ts'
import type { AckMode } from './mode.ts'

/** Files of records up to `lsn` were left out, by the word of a primary of that epoch and mandate, and the log ends below it. */
export interface Elided {
  readonly lsn: number
  readonly epoch: number
  readonly mandate: number
}

/** p->r = from the primary to the replica. */
export type Message =
  /** p->r, first. Epoch and session are in the frame's header. */
  | {
      readonly type: 'hello'
      readonly protocol: number
      readonly replicaId: string
      readonly storeId: Uint8Array
      readonly endpointVersion: number
      /** By whose decision it is the primary (format/mandate.ts); 0: nobody's, or who only looks. */
      readonly mandate: number
      /** Which decision of that mandate: lower-case hex of 16 bytes; '' where the mandate is 0. */
      readonly decision: string
      readonly kind: 'bootstrap' | 'catchup' | 'reassign' | 'rebuild' | 'observe' | 'fence'
    }
  | {
      readonly type: 'helloReply'
      readonly protocol: number
      readonly replicaId: string
      /** undefined before the first contact. */
      readonly storeId: Uint8Array | undefined
      readonly epochSeen: number
      readonly durableLsn: number
      readonly committedLsn: number
      /** T of its log: where its lineage begins to be exact. */
      readonly tailLsn: number
      readonly lineage: readonly Mark[] | null
      readonly digest: Uint8Array
      readonly checkpoints: readonly number[]
      readonly rebuildInProgress: Uint8Array | null
      /** It has everything that it ever confirmed. */
      readonly isWhole: boolean
      /** Amid a catch-up that leaves files out; null: it is not. */
      readonly elided: Elided | null
    }
  | { readonly type: 'digestReq'; readonly lsn: number }
  /** `digest` undefined: not known there. */
  | { readonly type: 'digestReply'; readonly lsn: number; readonly digest: Uint8Array | undefined }
  /** What comes next under this fence: `catchup` and `tail` end at `target`, `stream` has none (0). */
  | {
      readonly type: 'grant'
      readonly mode: 'catchup' | 'tail' | 'stream'
      readonly start: number
      readonly target: number
      readonly committedLsn: number
      readonly elideDead: boolean
    }
  | { readonly type: 'grantAck'; readonly durableLsn: number }
  /** Whole frames of the log, one after the other, as the primary holds them; `digest` = digestAt(first + count - 1). `base`: records of a base under way. */
  | {
      readonly type: 'entries'
      readonly first: number
      readonly count: number
      readonly committedLsn: number
      readonly digest: Uint8Array
      readonly base: boolean
      readonly bytes: Uint8Array
    }
  /** A piece of a file, at most 256 KiB; pieces of one file in order. `dead`: the file is gone, and nothing needs it at the frozen target. */
  | {
      readonly type: 'fragment'
      readonly hash: Uint8Array
      readonly offset: number
      readonly total: number
      readonly dead: boolean
      readonly bytes: Uint8Array
    }
  | { readonly type: 'ack'; readonly receivedLsn: number; readonly durableLsn: number; readonly appliedLsn: number }
  | { readonly type: 'truncate'; readonly lsn: number }
  | { readonly type: 'truncated'; readonly lsn: number; readonly digest: Uint8Array }
  | { readonly type: 'manifest'; readonly hash: Uint8Array; readonly bytes: Uint8Array }
  /** r->p: files that are missing; of the manifest (`lsn` 0), or of records up to `lsn`. An empty list of a manifest: everything is there. */
  | { readonly type: 'want'; readonly lsn: number; readonly files: readonly { readonly name: string; readonly hash: Uint8Array; readonly bytes: number }[] }
  | { readonly type: 'install'; readonly manifestHash: Uint8Array }
  | { readonly type: 'installed'; readonly baseLsn: number }
  | { readonly type: 'heartbeat'; readonly committedLsn: number; readonly durableLsn: number }
  | { readonly type: 'error'; readonly code: string; readonly message: string; readonly details: Readonly<Record<string, unknown>> }
  | { readonly type: 'verifySelf'; readonly upTo: number }
  | { readonly type: 'verified'; readonly ok: boolean; readonly firstBad: number; readonly ackMode: AckMode }
  | { readonly type: 'challenge'; readonly nonce: Uint8Array }
  | { readonly type: 'proof'; readonly mac: Uint8Array }
  /** r->p: work on a base goes on. `done` grows over the link with what is read, hashed, stored and folded, by about a unit for each byte. */
  | { readonly type: 'working'; readonly done: number }
