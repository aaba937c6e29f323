// format/page-directory.ts: where each column of each record batch lies in a fragment, with a checksum per page (docs/format.md section "Fragments").
//
// Kept as base64 under `varve:pages` in the custom metadata of the Arrow footer, which other readers leave alone; the footer itself is checked by the
// fragment's reference. So a reader fetches exactly the pages it wants and believes no byte it has not checked.
//
//   u8 version 1 | varint columns, batches | per column: varint id, u8 has dictionary, [varint entries, page]
//   | per batch: varint rows, per column: page, statistics (format/fragment-ref.ts)
//   page = varint offset, bytes | varint n, n node numbers (rows, null count in preorder) | varint n, n buffer lengths | 8 B XXH3-64 of its bytes
import type { Page } from './arrow-write.ts'
import { ByteReader, ByteWriter, DecodeError } from './bytes.ts'
import { decodeStats, encodeStats } from './fragment-ref.ts'
import type { FragmentColumn } from './fragment-ref.ts'

export const PAGES_KEY = 'varve:pages'
const VERSION = 1
const HASH_BYTES = 8

export interface CheckedPage extends Page {
  /** XXH3-64 of the bytes from `offset` on, 8 bytes little-endian. */
  readonly hash: Uint8Array
}

export type PageStats = Pick<FragmentColumn, 'nullCount' | 'min' | 'max' | 'hasNaN'>

export interface PageDirectory {
  readonly columns: readonly { readonly id: number; readonly dictionary?: CheckedPage }[]
  readonly batches: readonly { readonly rows: number; readonly pages: readonly CheckedPage[]; readonly stats: readonly PageStats[] }[]
}

/** As text for the footer's metadata. */
export function encodePageDirectory(directory: PageDirectory): string {
  const w = new ByteWriter(1024)
  w.u8(VERSION)
  w.varint(directory.columns.length)
  w.varint(directory.batches.length)
  for (const column of directory.columns) {
    w.varint(column.id)
    w.u8(column.dictionary === undefined ? 0 : 1)
    if (column.dictionary !== undefined) encodePage(w, column.dictionary)
  }
  for (const batch of directory.batches) {
    w.varint(batch.rows)
    batch.pages.forEach((page, i) => {
      encodePage(w, page)
      encodeStats(w, batch.stats[i]!)
    })
  }
  return base64(w.finish())
}

/** @throws DecodeError */
export function decodePageDirectory(text: string): PageDirectory {
  const r = new ByteReader(fromBase64(text))
  const version = r.u8()
  if (version !== VERSION) throw new DecodeError(`page directory version ${version}`, 0)
  const columnCount = r.varint()
  const batchCount = r.varint()
  if (columnCount > r.left || batchCount > r.left) throw new DecodeError(`${columnCount} columns and ${batchCount} batches in ${r.left} bytes`, r.at)
  const columns: { id: number; dictionary?: CheckedPage }[] = []
  for (let i = 0; i < columnCount; i++) {
    const id = r.varint()
    columns.push(r.u8() === 0 ? { id } : { id, dictionary: decodePage(r) })
  }
  const batches: PageDirectory['batches'][number][] = []
  for (let b = 0; b < batchCount; b++) {
    const rows = r.varint()
    const pages: CheckedPage[] = []
    const stats: PageStats[] = []
    for (let i = 0; i < columnCount; i++) {
      pages.push(decodePage(r))
      stats.push(decodeStats(r))
    }
    batches.push({ rows, pages, stats })
  }
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind the page directory`, r.at)
  return { columns, batches }
}

function encodePage(w: ByteWriter, page: CheckedPage): void {
  w.varint(page.offset)
  w.varint(page.bytes)
  w.varint(page.nodes.length)
  for (const number of page.nodes) w.varint(number)
  w.varint(page.buffers.length)
  for (const bytes of page.buffers) w.varint(bytes)
  w.raw(page.hash)
}

function decodePage(r: ByteReader): CheckedPage {
  return { offset: r.varint(), bytes: r.varint(), nodes: numbers(r), buffers: numbers(r), hash: r.raw(HASH_BYTES).slice() }
}

function numbers(r: ByteReader): number[] {
  const count = r.varint()
  if (count > r.left) throw new DecodeError(`${count} numbers in ${r.left} bytes`, r.at)
  const list: number[] = []
  for (let i = 0; i < count; i++) list.push(r.varint())
  return list
}

function base64(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
  } catch {
    throw new DecodeError('a page directory that is not base64', 0)
  }
}
