// format/ship-manifest.ts: the canonical bytes of a base's manifest; its hash is their SHA-256 (docs/shipping.md "Rebuild").
//
//   8 B "VARVEBAS" | u8 version | 16 B store id | u64 base LSN | 32 B digest there | u64 LSN above which the log belongs to it | 32 B digest there
//   | lineage: varint n, n of u64 epoch, u64 first LSN, u64 mandate | checkpoint: file | files: varint n, n of file;  file = text name, 32 B SHA-256, u64 bytes
//
// Invariant: files ascend by name and stand once, so that equal manifests are equal bytes; what is not in this form is refused.
import { ByteReader, ByteWriter, DecodeError } from './bytes.ts'
import { decodeList } from './commit.ts'
import type { Mark } from './mandate.ts'
import { DIGEST_BYTES } from './segment.ts'
import { readFile, readHash, readLineage, writeLineage } from './ship-codec.ts'
import { digestInName } from './vacuum.ts'

const MAGIC = new TextEncoder().encode('VARVEBAS')
const VERSION = 1
const STORE_ID_BYTES = 16

type ManifestFile = ReturnType<typeof readFile>

/** As `Manifest` of ship/types.ts. */
export interface ManifestFacts {
  readonly storeId: Uint8Array
  readonly baseLsn: number
  readonly digest: Uint8Array
  readonly lineage: readonly Mark[]
  readonly logFrom: number
  readonly logDigest: Uint8Array
  readonly checkpoint: ManifestFile
  /** In any order. Older checkpoints may be among them: branches begin in their past. */
  readonly files: readonly ManifestFile[]
}

export function encodeManifest(manifest: ManifestFacts): Uint8Array<ArrayBuffer> {
  const w = new ByteWriter(256 + manifest.files.length * 128)
  w.raw(MAGIC)
  w.u8(VERSION)
  w.raw(manifest.storeId)
  w.u53(manifest.baseLsn)
  w.raw(manifest.digest)
  w.u53(manifest.logFrom)
  w.raw(manifest.logDigest)
  writeLineage(w, manifest.lineage)
  writeFile(w, manifest.checkpoint)
  const files = manifest.files.toSorted((a, b) => (a.name < b.name ? -1 : 1)).filter((file, i, all) => file.name !== all[i - 1]?.name)
  w.varint(files.length)
  for (const file of files) writeFile(w, file)
  return w.finish()
}

/** @throws DecodeError for bytes that encodeManifest() would not have made */
export function decodeManifest(bytes: Uint8Array): ManifestFacts {
  const r = new ByteReader(bytes)
  if (r.raw(MAGIC.length).some((byte, i) => byte !== MAGIC[i])) throw new DecodeError('no magic of a manifest', 0)
  const version = r.u8()
  if (version !== VERSION) throw new DecodeError(`manifest version ${version}`, r.at - 1)
  const storeId = r.raw(STORE_ID_BYTES).slice()
  const baseLsn = r.u53()
  const digest = readHash(r)
  const logFrom = r.u53()
  if (logFrom > baseLsn) throw new DecodeError(`a base at ${baseLsn} whose log begins above ${logFrom}`, r.at)
  const logDigest = r.raw(DIGEST_BYTES).slice()
  const lineage = readLineage(r)
  const checkpoint = readFile(r)
  if (digestInName(checkpoint.name) !== undefined) throw new DecodeError(`${checkpoint.name} is no checkpoint`, r.at)
  let before = ''
  const files = decodeList(r, () => {
    const file = readFile(r)
    if (file.name === checkpoint.name) throw new DecodeError(`${file.name} among the files of its own base`, r.at)
    if (file.name <= before) throw new DecodeError(`files of a base out of order at ${file.name}`, r.at)
    before = file.name
    return file
  })
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a manifest`, r.at)
  return { storeId, baseLsn, digest, lineage, logFrom, logDigest, checkpoint, files }
}

function writeFile(w: ByteWriter, file: ManifestFile): void {
  w.text(file.name)
  w.raw(file.hash)
  w.u53(file.bytes)
}
