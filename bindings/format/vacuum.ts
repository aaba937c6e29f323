// format/vacuum.ts: the payload of a `vacuum` record (kind 10): "these files are about to be deleted, and below this LSN files may be missing".
//
//   u8 version | u53 time ms | 16 B id of the run | varint fragment floor | varint n | n of: 32 B digest, u8 extension (0 arrow, 1 idx, 2 dv), varint generation
//
// Invariant: names ascend and stand once, so equal sets give equal bytes; nothing outside of fragments/ and indexes/ can be named.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { decodeList, WRITE_ID_BYTES } from './commit.ts'
import { deletionVectorName, fragmentName, indexName } from './fragment-ref.ts'
import { fromHex, toHex } from './hex.ts'

const VERSION = 1

const NAME_OF = [fragmentName, indexName, deletionVectorName] as const
const EXTENSIONS = ['arrow', 'idx', 'dv'] as const
const CONTENT_NAME = /^(fragments|indexes)\/([0-9a-f]{2})\/([0-9a-f]{64})(?:\.g([1-9]\d{0,8}))?\.(arrow|idx|dv)$/

export interface VacuumRecord {
  readonly timeMs: number
  /** 16 bytes: records of one run have the same. */
  readonly id: Uint8Array
  /** G: every file that a record above it names is stored. */
  readonly floor: number
  /** Content-addressed names, ascending, each once. */
  readonly names: readonly string[]
}

/** Whether a name is one that vacuum may take: what else lies in those folders is nobody's to delete. */
export function isContentName(name: string): boolean {
  return CONTENT_NAME.test(name)
}

/** The digest in the name of a content-addressed file; undefined: it is no such name, down to its folder and extension. */
export function digestInName(name: string): string | undefined {
  const found = CONTENT_NAME.exec(name)
  if (found === null) return undefined
  const [, , , digest, gen, extension] = found
  return NAME_OF[EXTENSIONS.indexOf(extension as (typeof EXTENSIONS)[number])]!(digest!, Number(gen ?? 0)) === name ? digest : undefined
}

export function encodeVacuum(w: ByteWriter, record: VacuumRecord): void {
  w.u8(VERSION)
  w.u53(record.timeMs)
  w.raw(record.id)
  w.varint(record.floor)
  encodeNames(w, record.names)
}

/** @throws DecodeError */
export function decodeVacuum(r: ByteReader): VacuumRecord {
  const version = r.u8()
  if (version !== VERSION) throw new DecodeError(`vacuum version ${version}`, r.at - 1)
  const record = { timeMs: r.u53(), id: r.raw(WRITE_ID_BYTES).slice(), floor: r.varint(), names: decodeNames(r) }
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a vacuum`, r.at)
  return record
}

export function encodeNames(w: ByteWriter, names: readonly string[]): void {
  w.varint(names.length)
  for (const name of names) {
    const found = CONTENT_NAME.exec(name)
    if (found === null) throw new RangeError(`not the name of a content-addressed file: ${name}`)
    w.raw(fromHex(found[3]!))
    w.u8(EXTENSIONS.indexOf(found[5] as (typeof EXTENSIONS)[number]))
    w.varint(Number(found[4] ?? 0))
  }
}

/** @throws DecodeError */
export function decodeNames(r: ByteReader): string[] {
  let before = ''
  return decodeList(r, () => {
    const digest = toHex(r.raw(32))
    const nameOf = NAME_OF[r.u8()]
    if (nameOf === undefined) throw new DecodeError('a dead file of an unknown extension', r.at - 1)
    const name = nameOf(digest, r.varint())
    if (name <= before) throw new DecodeError(`dead names out of order at ${name}`, r.at)
    before = name
    return name
  })
}
