// table/prune.ts: what statistics alone say about a predicate: no row of a run passes, every row passes, or it takes a look.
//
// Invariant: sound. 'none' and 'all' are claimed only when they hold for every run of rows that the statistics allow: min and max are bounds (of bytes
// possibly loose ones), they say nothing of nulls and NaN, and what is unknown allows anything. As the statistics may cover hidden rows too, both
// claims also hold for any subset of the rows.

import { valueKindOf } from '../format/index.ts'
import type { ColumnStats } from './batch.ts'
import type { CompiledNode, CompiledPredicate } from './predicate-eval.ts'
import { compareConstants } from './predicate-leaf.ts'
import type { Constant, Leaf } from './predicate-leaf.ts'

export type Share = 'none' | 'some' | 'all'

/** Which share of the rows passes, as far as statistics tell; 'some' is no claim. `stats`: by column id. */
export function matchingShare(predicate: CompiledPredicate, stats: (columnId: number) => ColumnStats | undefined, rows: number): Share {
  return rows === 0 ? 'none' : shareOf(predicate.root, stats, rows)
}

/** False: no row passes. */
export function mayMatch(predicate: CompiledPredicate, stats: (columnId: number) => ColumnStats | undefined, rows: number): boolean {
  return matchingShare(predicate, stats, rows) !== 'none'
}

function shareOf(node: CompiledNode, stats: (columnId: number) => ColumnStats | undefined, rows: number): Share {
  switch (node.op) {
    case 'not': {
      const share = shareOf(node.of, stats, rows)
      return share === 'some' ? 'some' : share === 'none' ? 'all' : 'none'
    }
    case 'and': {
      let result: Share = 'all'
      for (const one of node.of) {
        const share = shareOf(one, stats, rows)
        if (share === 'none') return 'none'
        if (share === 'some') result = 'some'
      }
      return result
    }
    case 'or': {
      let result: Share = 'none'
      for (const one of node.of) {
        const share = shareOf(one, stats, rows)
        if (share === 'all') return 'all'
        if (share === 'some') result = 'some'
      }
      return result
    }
    case 'leaf': {
      if (node.leaf.test === 'never') return 'none'
      const known = stats(node.column.id)
      return known === undefined ? 'some' : shareOfLeaf(node, node.leaf, known, rows)
    }
  }
}

function shareOfLeaf(node: CompiledNode & { op: 'leaf' }, leaf: Leaf, stats: ColumnStats, rows: number): Share {
  const { nullCount } = stats
  if (leaf.test === 'null') return nullCount === 0 ? 'none' : nullCount === rows ? 'all' : 'some'
  if (nullCount === rows) return 'none'
  if (leaf.test === 'valid') return nullCount === 0 ? 'all' : 'some'
  const { min, max } = stats
  if (misses(leaf, min, max)) return 'none'
  if (nullCount > 0 || min === undefined || max === undefined || mayHoldNaN(node, stats)) return 'some'
  return covers(leaf, min, max) ? 'all' : 'some'
}

function mayHoldNaN(node: CompiledNode & { op: 'leaf' }, stats: ColumnStats): boolean {
  const kind = valueKindOf(node.column.type)
  return (kind === 'f32' || kind === 'f64') && stats.hasNaN !== false
}

/** No value between min and max passes; an end that is not known is open. */
function misses(leaf: Leaf, min: Constant | undefined, max: Constant | undefined): boolean {
  const above = (bound: Constant): boolean => min !== undefined && compareConstants(min, bound) > 0
  const below = (bound: Constant): boolean => max !== undefined && compareConstants(max, bound) < 0
  switch (leaf.test) {
    case 'range':
    case 'byteRange':
      return above(leaf.to) || below(leaf.from)
    case 'bool':
      return above(leaf.value) || below(leaf.value)
    case 'in':
      return leaf.values.every((value) => above(value) || below(value))
    case 'bytes':
      switch (leaf.op) {
        case 'eq':
          return above(leaf.value) || below(leaf.value)
        case 'lt':
          return min !== undefined && compareConstants(min, leaf.value) >= 0
        case 'lte':
          return above(leaf.value)
        case 'gt':
          return max !== undefined && compareConstants(max, leaf.value) <= 0
        case 'gte':
          return below(leaf.value)
        case 'prefix':
          return below(leaf.value) || (min !== undefined && prefixOrder(min, leaf.value) > 0)
      }
  }
  return false
}

/** Every value between min and max passes. */
function covers(leaf: Leaf, min: Constant, max: Constant): boolean {
  switch (leaf.test) {
    case 'range':
    case 'byteRange':
      return compareConstants(min, leaf.from) >= 0 && compareConstants(max, leaf.to) <= 0
    case 'bool':
      return min === leaf.value && max === leaf.value
    case 'in':
      return compareConstants(min, max) === 0 && leaf.values.some((value) => compareConstants(value, min) === 0)
    case 'bytes':
      switch (leaf.op) {
        case 'eq':
          return compareConstants(min, leaf.value) === 0 && compareConstants(max, leaf.value) === 0
        case 'lt':
          return compareConstants(max, leaf.value) < 0
        case 'lte':
          return compareConstants(max, leaf.value) <= 0
        case 'gt':
          return compareConstants(min, leaf.value) > 0
        case 'gte':
          return compareConstants(min, leaf.value) >= 0
        case 'prefix':
          return prefixOrder(min, leaf.value) === 0 && prefixOrder(max, leaf.value) === 0
      }
  }
  return false
}

/** Order of a value's first bytes against a prefix; 0: it starts with it. */
function prefixOrder(value: Constant, prefix: Uint8Array): number {
  return compareConstants((value as Uint8Array).subarray(0, prefix.length), prefix)
}
