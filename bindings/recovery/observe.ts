// recovery/observe.ts: what a write that is not done looks like now: its INTENT, its seal, its files, its tables. Reads only; classify.ts judges.
//
// Invariant: a permission or I/O error is never "absent": it is thrown, and who asked says so loudly.

import type { PendingSeal } from '../catalog/index.ts'
import { CorruptIntentError, IntentVersionError } from '../errors.ts'
import { branchNumber, isCompatible, schemaDigest, type StateView, type StoreState } from '../engine/index.ts'
import {
  type Addressed,
  decodeIntent,
  deletionVectorName,
  fragmentName,
  toHex,
  indexName,
  type Intent,
  type IntentFile,
  type Participant,
  stagedName,
} from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { readNode } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { FP, ulidBytes, type World } from '../runtime/index.ts'
import { intentName } from '../staging/index.ts'
import { isBehind, type Observed, type ObservedFile, type ObservedIntent, type ObservedParticipant } from './classify.ts'
import type { Owners } from './owners.ts'

/** Keys written since, told in a decision. */
const OVERLAP_MAX = 10

export interface ObserveParts {
  readonly root: Root
  readonly world: World
  readonly state: StoreState
  readonly owners: Owners
  /** The tables of the branch that a write was prepared for; undefined: the branch is gone. */
  readonly viewOf: (intent: Intent) => Promise<StateView | undefined>
  /** Keys that this participant wrote and that were written after its expected version, as text; at most `limit`. */
  readonly overlap: (seal: PendingSeal, participant: Participant, limit: number) => Promise<readonly string[]>
}

/** One write as recovery meets it: by its staging directory, by its seal, or both. */
export interface Subject {
  /** ULID text. */
  readonly writeId: string
  readonly file: ObservedIntent
  /** The sealed form where there is one. */
  readonly intent: Intent | undefined
  readonly seal: PendingSeal | undefined
}

export function idHex(writeId: string): string {
  return toHex(ulidBytes(writeId))
}

/** Read the INTENT of a write and put it beside its seal. @throws StorageError other than notFound */
export async function subjectOf(parts: Pick<ObserveParts, 'root' | 'world' | 'state'>, writeId: string): Promise<Subject> {
  const { root, world, state } = parts
  const path = intentName(writeId)
  const seal = state.catalog.outcomes.pending.get(idHex(writeId))
  let armed: Intent | undefined
  let file: ObservedIntent
  try {
    if (world.failpoints.active) await world.failpoints.hit(FP.intent.read, { writeId, path })
    armed = decodeIntent((await root.get(path)).bytes, path)
    file = armed.writeId === writeId ? { state: 'ok', path } : { state: 'corrupt', path, cause: `${path}: it is the INTENT of ${armed.writeId}` }
  } catch (error) {
    if (error instanceof CorruptIntentError) file = { state: 'corrupt', path, cause: error.message }
    else if (error instanceof IntentVersionError) file = { state: 'newer', path, cause: error.message }
    else if (isNotFound(error)) file = { state: 'absent', path }
    else throw error
  }
  if (seal !== undefined && armed !== undefined && file.state === 'ok') {
    const differs = mismatchOf(armed, seal.intent)
    if (differs !== undefined) file = { state: 'mismatch', path, cause: `${path} and the seal at LSN ${seal.lsn} disagree about ${differs}` }
  }
  return { writeId, file, seal, intent: seal?.intent ?? (file.state === 'ok' ? armed : undefined) }
}

/** A staged write arms its INTENT before it knows its tables: what the INTENT names, the seal must name too. */
function mismatchOf(armed: Intent, sealed: Intent): string | undefined {
  if (armed.writeId !== sealed.writeId) return 'writeId'
  if (armed.branchId !== sealed.branchId) return 'branchId'
  if (armed.baseLsn !== sealed.baseLsn) return 'baseLsn'
  const identities = new Set(sealed.participants.map(({ tableId, incarnation }) => `${tableId}.${incarnation}`))
  const lost = armed.participants.find(({ tableId, incarnation }) => !identities.has(`${tableId}.${incarnation}`))
  return lost === undefined ? undefined : `the participant ${lost.name}`
}

export interface ObserveOptions {
  /** Read the staged files: their digests, and which of the keys they hold were written since. A held write's are its user's concern until it is used. */
  readonly files: boolean
}

export async function observe(parts: ObserveParts, subject: Subject, o: ObserveOptions): Promise<Observed> {
  const { catalog } = parts.state
  const { writeId, file, intent, seal } = subject
  const outcome = catalog.outcomes.of(idHex(writeId))?.outcome
  const undecided = outcome === undefined && intent !== undefined
  const view = undecided ? await parts.viewOf(intent) : undefined
  const participants = undecided ? await Promise.all(intent.participants.map((each) => participantOf(parts, view, subject, each, o))) : []
  return {
    writeId,
    file,
    sealed: seal !== undefined,
    outcome,
    forgotten: undecided && seal === undefined && Number(intent.baseLsn) < catalog.outcomes.floor,
    branchLive: intent === undefined || branchNumber(catalog.branches, intent) !== undefined,
    owner: undecided ? await parts.owners.liveness(intent) : 'dead',
    schema: view === undefined ? 'same' : schemaOf(view, intent!, seal),
    expired: isPast(parts, intent),
    givenUp: intent !== undefined && participants.some((each, i) => isBehind(each, intent.participants[i]!)) && (await isBeforePromotion(parts.root, intent)),
    participants,
  }
}

/** What a former primary had under way may stand on records that were cut off while it was a replica. */
async function isBeforePromotion(root: Root, intent: Intent): Promise<boolean> {
  return Number(intent.owner.epoch) < ((await readNode(root))?.promotedEpoch ?? 0)
}

/**
 * The term of a held write is over: by the newest record, or by the clock of whoever looks, for a store nobody writes to has no newer record. The roll-back is a record,
 * so folds agree whatever their clocks say.
 */
export function isPast({ state, world }: Pick<ObserveParts, 'state' | 'world'>, intent: Intent | undefined): boolean {
  return intent?.holdUntil !== undefined && Date.parse(intent.holdUntil) < Math.max(state.catalog.timeMs, world.clock.nowMs())
}

/** New tables hurt nobody, nor does a definition that takes all the rows of the one they were staged for; a table it wants to register that is there already does. */
function schemaOf({ catalog }: StateView, intent: Intent, seal: Subject['seal']): Observed['schema'] {
  if (schemaDigest(catalog) === intent.schemaDigest) return 'same'
  const isOutdated = (seal?.changes ?? []).some(({ tableId, schemaVersion, fragments }) => {
    const schemas = catalog.table(tableId)?.schemas
    const from = schemas?.find(({ version }) => version === schemaVersion)
    return schemas !== undefined && fragments !== undefined && (from === undefined || !isCompatible(from, schemas.at(-1)!))
  })
  if (isOutdated) return 'incompatible'
  return intent.registrations.some(({ name }) => catalog.byName(name) !== undefined) ? 'incompatible' : 'compatible'
}

async function participantOf(
  parts: ObserveParts,
  view: StateView | undefined,
  { writeId, seal }: Subject,
  participant: Participant,
  o: ObserveOptions,
): Promise<ObservedParticipant> {
  const table = view?.catalog.table(participant.tableId)
  const expected = Number(participant.expectedVersion)
  const isNewer = table !== undefined && table.createdLsn === participant.incarnation && table.lastLsn > expected
  const files = seal !== undefined && o.files ? await stagedFilesOf(parts.root, writeId, participant) : []
  const { overlap, damage } = isNewer && seal !== undefined && o.files && isWhole(files) ? await overlapOf(parts, seal, participant) : NO_OVERLAP
  return {
    tableId: participant.tableId,
    version: table === undefined ? undefined : String(table.lastLsn),
    incarnation: table?.createdLsn,
    files: damage === undefined ? files : [...files, damage],
    moved:
      table === undefined
        ? []
        : [...participant.removes, ...participant.addresses].filter((each) => !isAsRead(table.fragments, each)).map((each) => each.fragment),
    keyed: (table?.schemas.at(-1)?.key.length ?? 0) > 0,
    overlap,
  }
}

interface Overlap {
  readonly overlap: readonly string[]
  /** The file of keys, where it went bad since it was read. */
  readonly damage?: ObservedFile
}

const NO_OVERLAP: Overlap = { overlap: [] }

/** What a write with a damaged file wrote decides nothing: that file does. */
function isWhole(files: readonly ObservedFile[]): boolean {
  return files.every(({ state }) => state === 'present')
}

async function overlapOf(parts: ObserveParts, seal: PendingSeal, participant: Participant): Promise<Overlap> {
  const { keys, rule } = participant
  if (rule !== 'keys' || keys === undefined) return NO_OVERLAP
  try {
    return { overlap: await parts.overlap(seal, participant, OVERLAP_MAX) }
  } catch (error) {
    const damage = await keysFileOf(parts.root, seal.intent.writeId, keys)
    if (damage.state === 'present') throw error
    return { overlap: [], damage }
  }
}

type CatalogFragments = NonNullable<ReturnType<StoreState['catalog']['table']>>['fragments']

function isAsRead(fragments: CatalogFragments, { fragment, deletions }: Addressed): boolean {
  const found = fragments.find((each) => `${each.lsn}.${each.ordinal}` === fragment)
  return found !== undefined && String((found.vector?.hidden ?? 0) + found.hiddenCount) === deletions
}

async function stagedFilesOf(root: Root, writeId: string, participant: Participant): Promise<ObservedFile[]> {
  const seen: ObservedFile[] = []
  for (const file of participant.files) seen.push(await fileOf(root, placesOf(writeId, file), file.digest, file.bytes))
  const { keys } = participant
  if (keys !== undefined) seen.push(await keysFileOf(root, writeId, keys))
  return seen
}

function keysFileOf(root: Root, writeId: string, { exact, bytes }: NonNullable<Participant['keys']>): Promise<ObservedFile> {
  return fileOf(root, [stagedName(writeId, `${exact}.keys`)], exact, bytes)
}

/** Staged first: it is there until the write is retired. */
function placesOf(writeId: string, { digest, gen, role }: IntentFile): string[] {
  if (role === 'fragment') return [stagedName(writeId, `${digest}.arrow`), fragmentName(digest, gen)]
  if (role === 'index') return [stagedName(writeId, `${digest}.idx`), indexName(digest, gen)]
  if (role === 'deletions') return [stagedName(writeId, `${digest}.dv`), deletionVectorName(digest, gen)]
  return [stagedName(writeId, `${digest}.def`)]
}

/** One good copy is enough: promotion passes over a damaged one. */
async function fileOf(root: Root, places: readonly string[], digest: string, length: number): Promise<ObservedFile> {
  let damaged: ObservedFile | undefined
  for (const name of places) {
    let bytes: Uint8Array
    try {
      bytes = (await root.get(name)).bytes
    } catch (error) {
      if (isNotFound(error)) continue
      throw error
    }
    const found = toHex(sha256(bytes))
    if (bytes.length === length && found === digest) return { name, state: 'present' }
    damaged ??= { name, state: 'corrupt', detail: bytes.length === length ? `digest ${found}` : `${bytes.length} bytes, ${length} were sealed` }
  }
  return damaged ?? { name: places[0]!, state: 'missing' }
}
