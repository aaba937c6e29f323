// The commits of a crash round, as numbers: what commit n writes follows from n alone, so that the parent knows it without being told.
//
// Every commit leaves something that is wholly there or wholly missing and cannot be mistaken for another's.

import { columns, type KeyedTable, t, table } from '../../bindings/index.ts'

type Loose = KeyedTable & { readonly columns: Readonly<Record<string, unknown>> }

/** One row per commit. */
export const singles: Loose = table('singles', { n: t.int32(), text: t.utf8(), twice: t.int64() }, { key: ['n'] }) as never
/** Of one transaction, or one staged write, with `right` and `notes`. */
export const left: Loose = table('left', { n: t.int32(), sum: t.int32() }, { key: ['n'] }) as never
export const right: Loose = table('right', { n: t.int32(), part: t.int16(), value: t.int32() }, { key: ['n', 'part'] }) as never
export const notes: Loose = table('notes', { n: t.int32(), note: t.utf8() }) as never
/** Few keys, written again and again. */
export const hot: Loose = table('hot', { slot: t.int32(), n: t.int32() }, { key: ['slot'] }) as never
/** Rows of bulk loads. */
export const loads: Loose = table('loads', { n: t.int32(), i: t.int32(), value: t.int64() }, { key: ['n', 'i'] }) as never
/** Read, add one, write. */
export const counters: Loose = table('counters', { name: t.utf8(), value: t.int32() }, { key: ['name'] }) as never

export const TABLES: readonly Loose[] = [singles, left, right, notes, hot, loads, counters]
export const PARTS = 3
export const LOAD_ROWS = 400
export const SLOTS = 24

export type Kind = 'single' | 'multi' | 'hot' | 'load' | 'count' | 'delete' | 'staged'

export function kindOf(n: number): Kind {
  const place = (n * 7919) % 64
  if (place === 0) return 'load'
  if (place < 6) return 'multi'
  if (place < 16) return 'hot'
  if (place < 18) return 'count'
  if (place < 22) return 'delete'
  return place === 22 ? 'staged' : 'single'
}

/** The commit whose row a delete takes away, if that one is a single row. */
export const targetOf = (n: number): number => n - 97

export const singleRow = (n: number): object => ({ n, text: `commit ${n} ${'x'.repeat(n % 50)}`, twice: BigInt(n) * 2n })
export const leftRow = (n: number): object => ({ n, sum: PARTS * n })
export const rightRow = (n: number, part: number): object => ({ n, part, value: n + part })
export const noteRow = (n: number): object => ({ n, note: `note ${n}` })
export const slotOf = (n: number): number => n % SLOTS

export function loadColumns(n: number): never {
  const i = Array.from({ length: LOAD_ROWS }, (_, at) => at)
  return columns({ n: i.map(() => n), i, value: i.map((at) => BigInt(n) * 1000n + BigInt(at)) }) as never
}
