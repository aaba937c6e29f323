// log/footer.ts: the footer frame as bytes, sealed with its segment's seed; and a search for it from the end of a file.
import {
  FOOTER_BYTES,
  FOOTER_PAYLOAD_BYTES,
  FRAME_HEADER_BYTES,
  KIND_FOOTER,
  LOCAL_SYNCED_BEFORE,
  readFooterPayload,
  type SegmentFooter,
  writeFooterPayload,
} from '../format/index.ts'
import { kernels } from '../kernels/index.ts'
import { sameBytes } from './digest.ts'

const TWO_32 = 4_294_967_296

/** The whole frame. It is written only after the last group's sync, so it carries the synced-before bit; its LSN is the next one. */
export function sealFooter(footer: SegmentFooter, epoch: number, seed: bigint): Uint8Array<ArrayBuffer> {
  const { arena, exports } = kernels()
  const mark = arena.mark()
  try {
    const at = arena.reserve(FOOTER_BYTES)
    const seedAt = arena.reserve(8)
    kernels().view.setBigUint64(seedAt, seed, true)
    writeFooterPayload(kernels().u8, at + FRAME_HEADER_BYTES, footer)
    const lsn = footer.lastLsn + 1
    exports.frame_seal(
      at,
      FOOTER_PAYLOAD_BYTES,
      KIND_FOOTER,
      0,
      LOCAL_SYNCED_BEFORE,
      lsn >>> 0,
      (lsn / TWO_32) >>> 0,
      epoch >>> 0,
      (epoch / TWO_32) >>> 0,
      seedAt,
    )
    return kernels().copyOut(at, FOOTER_BYTES)
  } finally {
    arena.rewind(mark)
  }
}

/** The last footer in `bytes` that verifies and says it lies where it does; `base` is the file offset of `bytes`, divisible by 8. */
export function findFooter(bytes: Uint8Array, base: number, epoch: number, seed: bigint): SegmentFooter | undefined {
  for (let at = (bytes.length - FOOTER_BYTES) & ~7; at >= 0; at -= 8) {
    if (bytes[at + 12] !== KIND_FOOTER || bytes[at + 8] !== FOOTER_PAYLOAD_BYTES) continue
    const footer = footerAt(bytes, at, base, epoch, seed)
    if (footer !== undefined) return footer
  }
  return undefined
}

function footerAt(bytes: Uint8Array, at: number, base: number, epoch: number, seed: bigint): SegmentFooter | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (view.getUint32(at + 8, true) !== FOOTER_PAYLOAD_BYTES) return undefined
  const footer = readFooterPayload(bytes, at + FRAME_HEADER_BYTES)
  if (footer.bytesUsed !== base + at) return undefined
  return sameBytes(sealFooter(footer, epoch, seed), bytes.subarray(at, at + FOOTER_BYTES)) ? footer : undefined
}
