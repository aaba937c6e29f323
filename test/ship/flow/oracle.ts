// The chain of a log recomputed with node:crypto, record by record, from frames as they travel.
import { createHash } from 'node:crypto'

import { ChainDigestError, GapError } from '../../../bindings/errors-ship.ts'

export interface OracleChain {
  /** LSN of the last record. */
  readonly last: number
  digest(): Uint8Array
  /** The record bytes of each LSN, from 1. */
  readonly records: Uint8Array[]
  /** What follows is forgotten. */
  cut(lsn: number): void
  /** @throws GapError, ChainDigestError */
  add(entries: { readonly first: number; readonly count: number; readonly digest: Uint8Array; readonly bytes: Uint8Array }): number
}

const sha = (...parts: Uint8Array[]): Uint8Array => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

export function oracleChain(): OracleChain {
  const records: Uint8Array[] = []
  const digests: Uint8Array[] = [new Uint8Array(32)]
  return {
    records,
    get last() {
      return records.length
    },
    digest: () => digests.at(-1)!,
    cut(lsn) {
      records.length = lsn
      digests.length = lsn + 1
    },
    add({ first, count, digest: stated, bytes }) {
      if (first !== records.length + 1) throw new GapError('gap', { details: { expected: BigInt(records.length + 1), got: BigInt(first) } })
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      let at = 0
      for (let i = 0; i < count; i++) {
        const length = view.getUint32(at + 8, true)
        const record = bytes.slice(at + 8, at + 32 + length)
        // `local` is not part of it.
        record[6] = 0
        record[7] = 0
        if (Number(new DataView(record.buffer).getBigUint64(8, true)) !== first + i)
          throw new GapError('lsn', { details: { expected: BigInt(first + i), got: 0n } })
        records.push(record)
        digests.push(sha(digests.at(-1)!, sha(record)))
        at += (32 + length + 7) & ~7
      }
      if (at !== bytes.length) throw new ChainDigestError(`${bytes.length - at} bytes too many`)
      if (Buffer.compare(digests.at(-1)!, stated) !== 0) throw new ChainDigestError(`digest of LSN ${records.length} is another one`)
      return records.length
    },
  }
}
