// engine/intents.ts: the Intents that one open handle writes, and which of its writes are still being worked on (recovery.md sections 3 and 7).
//
// Invariant: a write is `live` from before its INTENT until its outcome is recorded or given up: recovery of this handle leaves it alone as long.

import type { Catalog } from '../catalog/index.ts'
import { ResourceLimitError } from '../errors.ts'
import {
  canonicalJson,
  encodeIntent,
  toHex,
  INTENT_VERSION,
  type Intent,
  type IntentKind,
  type IntentMerge,
  type IntentMode,
  type IntentOwner,
  MAIN_BRANCH,
  MAIN_BRANCH_ID,
  type Participant,
} from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { newUlid, type World } from '../runtime/index.ts'

export const PARTICIPANTS_MAX = 1024
const INTENT_FILES_MAX = 65_536
const INTENT_BYTES_MAX = 4 * 1024 * 1024

const NONCE_BYTES = 16

export interface ArmOptions {
  readonly kind: IntentKind
  readonly mode: IntentMode
  /** Default: a new one. */
  readonly writeId?: string | undefined
  /** Tables it is known to change; files come with the seal. */
  readonly participants: readonly Participant[]
  readonly author?: string | undefined
  readonly message?: string | undefined
  readonly holdUntil?: Date | undefined
  readonly idempotencyKey?: string | undefined
  readonly merge?: IntentMerge | undefined
}

/** What a seal adds to the INTENT. */
export interface SealOptions {
  readonly participants: readonly Participant[]
  /** Digest of what was asked under the idempotency key. */
  readonly request?: Uint8Array | undefined
}

/** A branch in one incarnation. */
export interface BranchName {
  readonly name: string
  readonly branchId: string
}

const MAIN_NAME: BranchName = { name: MAIN_BRANCH, branchId: MAIN_BRANCH_ID }

export class Intents {
  private readonly catalog: Catalog
  /** Whose writes it arms. */
  readonly branch: BranchName
  private readonly shared: { readonly live: Set<string>; stamp: number }
  private readonly world: Pick<World, 'clock' | 'random'>
  readonly owner: IntentOwner

  /** @param from  of the same handle: what is live is live on all branches */
  constructor(catalog: Catalog, world: Pick<World, 'clock' | 'random'>, owner: IntentOwner, branch: BranchName = MAIN_NAME, from?: Intents) {
    this.catalog = catalog
    this.world = world
    this.owner = owner
    this.branch = branch
    this.shared = from?.shared ?? { live: new Set(), stamp: 0 }
  }

  /** For the writes of a branch. */
  on(catalog: Catalog, branch: BranchName): Intents {
    return new Intents(catalog, this.world, this.owner, branch, this)
  }

  /** Counts up whenever a write stops being worked on. */
  get stamp(): number {
    return this.shared.stamp
  }

  isLive(writeId: string): boolean {
    return this.shared.live.has(writeId)
  }

  begin(writeId: string): void {
    this.shared.live.add(writeId)
  }

  end(writeId: string): void {
    if (this.shared.live.delete(writeId)) this.shared.stamp++
  }

  /** The INTENT of phase A, prepared against the durable state. @throws ResourceLimitError */
  arm(o: ArmOptions): Intent {
    return checked({
      schemaVersion: INTENT_VERSION,
      writeId: o.writeId ?? newUlid(this.world),
      kind: o.kind,
      mode: o.mode,
      branch: this.branch.name,
      branchId: this.branch.branchId,
      baseLsn: String(this.catalog.lsn),
      schemaDigest: schemaDigest(this.catalog),
      owner: this.owner,
      ...(o.author === undefined ? {} : { actor: o.author }),
      ...(o.message === undefined ? {} : { message: o.message }),
      createdAt: new Date(this.world.clock.nowMs()).toISOString(),
      ...(o.holdUntil === undefined ? {} : { holdUntil: o.holdUntil.toISOString() }),
      ...(o.idempotencyKey === undefined ? {} : { idempotencyKey: o.idempotencyKey }),
      ...(o.merge === undefined ? {} : { merge: o.merge }),
      participants: sorted(o.participants),
      registrations: [],
      tombstones: [],
      nonce: toHex(this.world.random.bytes(NONCE_BYTES)),
    })
  }

  /** The final form, for the seal. @throws ResourceLimitError */
  seal(armed: Intent, o: SealOptions): Intent {
    return checked({ ...armed, participants: sorted(o.participants), ...(o.request === undefined ? {} : { request: toHex(o.request) }) })
  }
}

/** Digest of the definitions that the store has: what a write was prepared with. */
export function schemaDigest(catalog: Catalog): string {
  const tables = [...catalog.tables.values()].sort((a, b) => a.id - b.id)
  return toHex(sha256(new TextEncoder().encode(canonicalJson(tables.map(({ id, createdLsn, schemas }) => ({ id, createdLsn, schema: schemas.at(-1) }))))))
}

function sorted(participants: readonly Participant[]): readonly Participant[] {
  return participants.toSorted((a, b) => a.tableId - b.tableId)
}

/** The limits of recovery.md section 3. @throws ResourceLimitError */
function checked(intent: Intent): Intent {
  const files = intent.participants.reduce((sum, participant) => sum + participant.files.length, 0)
  limit('participants of a write', intent.participants.length, PARTICIPANTS_MAX)
  limit('files of a write', files, INTENT_FILES_MAX)
  limit('bytes of an intent', encodeIntent(intent).length, INTENT_BYTES_MAX)
  return intent
}

function limit(what: string, asked: number, most: number): void {
  if (asked <= most) return
  throw new ResourceLimitError(`${asked} ${what}; at most ${most}`, { details: { limit: what, asked }, hint: 'Write it in several parts.' })
}
