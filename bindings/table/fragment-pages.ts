// table/fragment-pages.ts: pages of a fragment: which byte ranges to fetch, and their bytes checked and decoded into Vecs.
//
// Invariant: a page is believed only after its XXH3-64 agrees with the directory, and the directory only after the footer's agrees with the reference: a
// flipped bit in anything read is a CorruptionError with file and offset, never another value.
import { CorruptionError, Lz4CorruptError, Lz4TooLargeError, Lz4UnsupportedError } from '../errors.ts'
import { buildVec, DecodeError, decodePageDirectory, fragmentName, layoutOf, PAGES_KEY, readFooter, toHex, xxh3Bytes } from '../format/index.ts'
import type { ArrowField, CheckedPage, FragmentRef, PageDirectory } from '../format/index.ts'
import { kernels, lz4FrameDecodeInto } from '../kernels/index.ts'
import type { KernelInstance, Layout, Vec } from '../kernels/index.ts'

/** Pages this close are fetched with one request: what lies between costs less than another one. */
const GAP_BYTES_MAX = 4096
/** Of a single row: a page of eight bytes a row lies between at most. */
export const ROW_GAP_BYTES: number = 512 * 1024 + 4096
const HASH_BYTES = 8

/** The checked footer of a fragment. */
export interface FragmentFooter {
  readonly fields: readonly ArrowField[]
  readonly directory: PageDirectory
  /** Place in `fields` by column id. */
  readonly places: ReadonlyMap<number, number>
}

export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** @throws CorruptionError fragment.corrupt */
export function parseFooter(ref: FragmentRef, bytes: Uint8Array): FragmentFooter {
  const file = fragmentName(ref.digest, ref.gen)
  const found = toHex(xxh3Bytes(bytes))
  if (found !== ref.footerHash) throw corrupt(file, ref.footerOffset, `footer hash ${found}, expected ${ref.footerHash}`)
  return guarded(file, ref.footerOffset, 'footer', () => {
    const { schema, metadata } = readFooter(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice())
    const directory = decodePageDirectory(metadata[PAGES_KEY] ?? '')
    if (directory.columns.length !== schema.fields.length) throw new DecodeError(`${directory.columns.length} columns for ${schema.fields.length} fields`, 0)
    return { fields: schema.fields, directory, places: new Map(directory.columns.map((column, place) => [column.id, place])) }
  })
}

/** The fewest ranges that cover the pages, ascending. */
export function planRanges(pages: readonly CheckedPage[], gapBytes: number = GAP_BYTES_MAX): ByteRange[] {
  const ranges: { start: number; end: number }[] = []
  for (const page of [...pages].sort((a, b) => a.offset - b.offset)) {
    const last = ranges.at(-1)
    const end = page.offset + page.bytes
    if (last !== undefined && page.offset - last.end <= gapBytes) last.end = Math.max(last.end, end)
    else ranges.push({ start: page.offset, end })
  }
  return ranges.filter((range) => range.end > range.start)
}

/** The bytes of a page in what was fetched for `ranges`. */
export function pageBytes(page: CheckedPage, ranges: readonly ByteRange[], fetched: readonly Uint8Array[]): Uint8Array {
  for (let i = 0; i < ranges.length; i++) {
    const { start, end } = ranges[i]!
    if (page.offset >= start && page.offset + page.bytes <= end) return fetched[i]!.subarray(page.offset - start, page.offset - start + page.bytes)
  }
  return new Uint8Array(0)
}

/** Checks and decodes a page: a column of one batch (dictionary columns: their codes), or a dictionary. @throws CorruptionError fragment.corrupt */
export function decodePage(file: string, what: string, page: CheckedPage, layout: Layout, bytes: Uint8Array): Vec {
  const kernel = kernels()
  const mark = kernel.arena.mark()
  try {
    const out = kernel.arena.reserve(HASH_BYTES)
    const at = kernel.copyIn(bytes)
    kernel.exports.xxh3(at, bytes.length, 0, 0, out)
    for (let i = 0; i < HASH_BYTES; i++) if (kernel.u8[out + i] !== page.hash[i]) throw corrupt(file, page.offset, `${what}: page hash differs`)
    return guarded(file, page.offset, what, () => new PageDecoder(kernel, at, page).vec(layout))
  } finally {
    kernel.arena.rewind(mark)
  }
}

/** Layout of a field's page: codes for dictionaries. */
export function pageLayout(field: ArrowField): Layout {
  return field.dictionary === undefined ? layoutOf(field.type) : { kind: 'fixed', width: field.dictionary.width }
}

class PageDecoder {
  readonly #kernel: KernelInstance
  readonly #start: number
  readonly #page: CheckedPage
  #offset = 0
  #buffer = 0
  #node = 0

  constructor(kernel: KernelInstance, start: number, page: CheckedPage) {
    this.#kernel = kernel
    this.#start = start
    this.#page = page
  }

  vec(layout: Layout): Vec {
    const { nodes } = this.#page
    const rows = nodes[this.#node++]
    const nullCount = nodes[this.#node++]
    if (rows === undefined || nullCount === undefined) throw new DecodeError('fewer nodes than the type has', 0)
    return buildVec(layout, rows, nullCount, { buffer: () => this.#next(), child: (child) => this.vec(child) })
  }

  #next(): Uint8Array {
    const bytes = this.#page.buffers[this.#buffer++]
    this.#offset = Math.ceil(this.#offset / 8) * 8
    if (bytes === undefined || bytes > this.#page.bytes - this.#offset) throw new DecodeError('a buffer outside its page', this.#offset)
    const at = this.#start + this.#offset
    this.#offset += bytes
    if (bytes === 0) return new Uint8Array(0)
    const kernel = this.#kernel
    if (bytes < 8) throw new DecodeError(`a compressed buffer of ${bytes} bytes`, this.#offset)
    const stated = kernel.view.getUint32(at, true) + kernel.view.getUint32(at + 4, true) * 0x1_0000_0000
    if (stated > 0xffff_ffff) return kernel.copyOut(at + 8, bytes - 8)
    const mark = kernel.arena.mark()
    try {
      // An LZ4 byte yields at most 255: a length beyond that is refused before memory is taken for it.
      if (stated > 255 * bytes) throw new DecodeError(`a plain length of ${stated} from ${bytes} bytes`, this.#offset)
      const out = kernel.arena.reserve(stated)
      lz4FrameDecodeInto(kernel, at + 8, bytes - 8, out, stated)
      return kernel.copyOut(out, stated)
    } finally {
      kernel.arena.rewind(mark)
    }
  }
}

/** What decoding refuses is damage of the file. */
function guarded<T>(file: string, offset: number, what: string, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    const isDamage =
      cause instanceof DecodeError || cause instanceof Lz4CorruptError || cause instanceof Lz4TooLargeError || cause instanceof Lz4UnsupportedError
    if (!isDamage) throw cause
    throw corrupt(file, offset, `${what}: ${cause.message}`, cause)
  }
}

export function corrupt(file: string, offset: number, why: string, cause?: unknown): CorruptionError {
  return new CorruptionError('fragment.corrupt', `${file} at byte ${offset}: ${why}`, { details: { file, offset }, cause })
}
