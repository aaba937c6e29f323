// log/bases.ts: generations of a log (docs/format.md "Bases"): where the log lives, and what it begins with.
//
//   bases/<g, 10 digits>   sealed JSON, put if absent: the switch from generation g - 1 to g        log/ = generation 0        log.<g>/ = generation g
//
// The highest base wins. Everything of its generation was durable before it was created, everything of an older one is garbage. Only replicas make one.
import { CorruptionError, StorageError, StoreTooNewError } from '../errors.ts'
import { INTENT_NAME, type Mark, markOf, parseHex, stagedName, toHex } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import type { Digest } from './commit-log.ts'
import { zeroDigest } from './digest.ts'
import { decodeSealed, encodeSealed } from './sealed-json.ts'

const BASES_PREFIX = 'bases/'
const FORMAT = 1
const DIGITS = 10
const SETTLE_MS = 20
const SETTLE_TRIES = 50

/** One per exclusive epoch that appended at least one record, ascending. */
export interface LineageMark extends Mark {}

/** What a generation begins with. */
export interface Base {
  readonly generation: number
  /** B: the log reaches at least this far. */
  readonly baseLsn: number
  /** digestAt(baseLsn). */
  readonly digest: Digest
  /** T of the generation when it began: records above it are in its log. <= baseLsn. */
  readonly tailLsn: number
  /** digestAt(tailLsn). */
  readonly tailDigest: Digest
  /** Epoch of record tailLsn; 0 = none. */
  readonly epoch: number
  /** Up to baseLsn. */
  readonly lineage: readonly LineageMark[]
  readonly manifestHash: Uint8Array
  /** LSNs of its checkpoints, ascending; the last is that at baseLsn. */
  readonly checkpoints: readonly number[]
  /** Write id of the intent under which it was made: while that is there, `checkpoints/` may still be that of the generation before. */
  readonly install: string
}

/** One log of a root: its folder, and where it begins. */
export class Generation {
  readonly number: number
  /** Undefined for generation 0. */
  readonly base: Base | undefined
  /** Its checkpoints are not all in their place yet: the replica's next open sees to that. */
  readonly isInstalling: boolean

  constructor(base?: Base, isInstalling = false) {
    this.number = base?.generation ?? 0
    this.base = base
    this.isInstalling = isInstalling
  }

  /** Folder of its segments, with the slash. */
  get dir(): string {
    return logDir(this.number)
  }

  /** By whose decision records of that epoch were written, as far as its base says. */
  mandateOf(epoch: number): number {
    return this.base?.lineage.find((mark) => mark.epoch === epoch)?.mandate ?? 0
  }

  /** The log begins after this LSN, or later when it was trimmed. */
  get tailLsn(): number {
    return this.base?.tailLsn ?? 0
  }

  /** digestAt(tailLsn). */
  get tailDigest(): Digest {
    return this.base?.tailDigest ?? zeroDigest()
  }
}

export function logDir(generation: number): string {
  return generation === 0 ? 'log/' : `log.${digits(generation)}/`
}

export function baseName(generation: number): string {
  return `${BASES_PREFIX}${digits(generation)}`
}

/** Numbers of the bases there are, ascending. */
export async function listBases(root: Root): Promise<number[]> {
  const found: number[] = []
  for await (const { name } of root.list(BASES_PREFIX)) {
    const match = /^bases\/(\d{10})$/.exec(name)
    if (match !== null) found.push(Number(match[1]))
  }
  return found
}

/** The log that counts. @param bases  those there are, where the caller has just looked. @throws CorruptionError, StoreTooNewError, StorageError */
export async function currentGeneration(root: Root, bases?: readonly number[]): Promise<Generation> {
  const newest = (bases ?? (await listBases(root))).at(-1)
  if (newest === undefined) return new Generation()
  const base = decodeBase((await root.get(baseName(newest))).bytes, newest)
  return new Generation(base, await root.exists(stagedName(base.install, INTENT_NAME)))
}

/** The log that counts, whose checkpoints are in their place: an install under way is waited for. @throws StorageError unavailable when it was cut off */
export async function settledGeneration(root: Root, world: Pick<World, 'timers'>, signal?: AbortSignal): Promise<Generation> {
  for (let tries = 1; ; tries++) {
    const generation = await currentGeneration(root)
    if (!generation.isInstalling) return generation
    if (tries === SETTLE_TRIES) {
      throw new StorageError(`${baseName(generation.number)} is installed in part`, {
        details: { op: 'open', name: baseName(generation.number), class: 'unavailable' },
        hint: 'The replica finishes it when it is opened (Replica.open).',
      })
    }
    await world.timers.sleep(SETTLE_MS, signal, true)
  }
}

export function encodeBase(base: Base): Uint8Array<ArrayBuffer> {
  return encodeSealed({
    format: FORMAT,
    generation: base.generation,
    baseLsn: base.baseLsn,
    digest: toHex(base.digest),
    tailLsn: base.tailLsn,
    tailDigest: toHex(base.tailDigest),
    epoch: base.epoch,
    lineage: base.lineage.map(({ epoch, firstLsn, mandate }) => `${epoch}:${firstLsn}${mandate === undefined ? '' : `:${mandate}`}`).join(' '),
    manifestHash: toHex(base.manifestHash),
    checkpoints: base.checkpoints.join(' '),
    install: base.install,
  })
}

/** @throws CorruptionError when the bytes are no base of that generation; StoreTooNewError for a newer format */
export function decodeBase(bytes: Uint8Array, generation: number): Base {
  const file = baseName(generation)
  const bad = (why: string): CorruptionError => new CorruptionError('log.corrupt', `${file}: ${why}`, { details: { file, offset: 0 } })
  const fields = decodeSealed(bytes)
  if (fields === undefined) throw bad('its check does not match')
  const { format, baseLsn, tailLsn, epoch, lineage, checkpoints, install } = fields
  if (format !== FORMAT)
    throw new StoreTooNewError(`${file} has format ${format}; this varve reads ${FORMAT}`, { details: { found: format, supported: FORMAT } })
  const [digest, tailDigest, manifestHash] = [fields['digest'], fields['tailDigest'], fields['manifestHash']].map((hex) => parseHex(hex, 32))
  const whole =
    fields['generation'] === generation &&
    isCount(baseLsn) &&
    isCount(tailLsn) &&
    isCount(epoch) &&
    tailLsn <= baseLsn &&
    typeof lineage === 'string' &&
    typeof checkpoints === 'string' &&
    typeof install === 'string'
  if (!whole || digest === undefined || tailDigest === undefined || manifestHash === undefined) throw bad('a field is missing')
  return {
    generation,
    baseLsn,
    digest: digest as Uint8Array as Digest,
    tailLsn,
    tailDigest: tailDigest as Uint8Array as Digest,
    epoch,
    lineage: words(lineage).map((pair) => {
      const [its = 0, firstLsn = 0, mandate] = pair.split(':').map(Number)
      return markOf(its, firstLsn, mandate)
    }),
    manifestHash,
    checkpoints: words(checkpoints).map(Number),
    install,
  }
}

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '')
}

function digits(generation: number): string {
  return String(generation).padStart(DIGITS, '0')
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
