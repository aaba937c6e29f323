// table/predicate-eval.ts: a predicate compiled against a view, and its evaluation on columns to a bitmap of rows.
//
// Invariant: two-valued. A leaf is false for null and NaN, `not` is the complement within the rows, `ne` is not(eq); so for any predicate
// count(p) + count(not(p)) is the number of rows. Bitmaps are padded with zero bits to a multiple of 64.

import { assert } from '../assert.ts'
import { SchemaMismatchError } from '../errors.ts'
import { valueKindOf } from '../format/index.ts'
import type { ColumnDef } from '../format/index.ts'
import { evaluateBitmap } from '../kernels/index.ts'
import type { BitmapExpression, Vec } from '../kernels/index.ts'
import { leafBitmap } from './leaf-eval.ts'
import { didYouMean } from './names.ts'
import { compareConstants, equalities, leafOf } from './predicate-leaf.ts'
import type { Constant, Leaf } from './predicate-leaf.ts'
import { nodeOf } from './predicate.ts'
import type { PredicateNode } from './predicate.ts'
import type { Predicate } from './types.ts'
import type { TableView } from './view.ts'

/** Keys looked up one by one at most; above that a scan is as good. */
const KEYS_MAX = 1024

export type CompiledNode =
  | { readonly op: 'leaf'; readonly leaf: Leaf; readonly column: ColumnDef; readonly place: number }
  | { readonly op: 'and' | 'or'; readonly of: readonly CompiledNode[] }
  | { readonly op: 'not'; readonly of: CompiledNode }

export interface CompiledPredicate {
  /** The columns that it needs, each once. */
  readonly columns: readonly ColumnDef[]
  readonly root: CompiledNode
  /** Bitmap of the rows that pass, from the Vecs of `columns` in that order. Not kept; the caller may change it. */
  eval(vecs: readonly Vec[], length: number): Uint8Array
}

/**
 * Names and values held against the view's columns.
 * @throws SchemaMismatchError an unknown column, a value of another type
 */
export function compilePredicate(predicate: Predicate<any>, view: TableView): CompiledPredicate {
  const columns: ColumnDef[] = []
  const root = compileNode(nodeOf(predicate), view, columns)
  return {
    columns,
    root,
    eval(vecs, length) {
      assert(vecs.length === columns.length, 'a predicate gets the columns that it asked for', vecs.length)
      return evaluateBitmap(expressionOf(root, vecs, length), length)
    },
  }
}

/**
 * The tuples of these columns, one value each, that rows must have to pass; undefined when the predicate does not fix all of them by eq and oneOf.
 * Rows found under these tuples still have to be tested. None: no row passes.
 */
export function tupleEquality(predicate: CompiledPredicate, ids: readonly number[]): readonly (readonly Constant[])[] | undefined {
  const leaves = conjuncts(predicate.root)
  let keys: Constant[][] = [[]]
  for (const id of ids) {
    let values: readonly Constant[] | undefined
    for (const node of leaves) {
      if (node.op !== 'leaf' || node.column.id !== id) continue
      const accepted = equalities(node.leaf)
      if (accepted === undefined) continue
      values = values === undefined ? accepted : values.filter((a) => accepted.some((b) => compareConstants(a, b) === 0))
    }
    if (values === undefined || keys.length * values.length > KEYS_MAX) return undefined
    const chosen = values
    keys = keys.flatMap((key) => chosen.map((value) => [...key, value]))
  }
  return keys
}

/** The nodes of which all must pass. */
export function conjuncts(node: CompiledNode): readonly CompiledNode[] {
  return node.op === 'and' ? node.of.flatMap(conjuncts) : [node]
}

function compileNode(node: PredicateNode, view: TableView, columns: ColumnDef[]): CompiledNode {
  switch (node.op) {
    case 'and':
    case 'or':
      return { op: node.op, of: node.of.map((one) => compileNode(one, view, columns)) }
    case 'not':
      return { op: 'not', of: compileNode(node.of, view, columns) }
    case 'ne':
      return { op: 'not', of: compileNode({ ...node, op: 'eq' }, view, columns) }
    default: {
      const found = view.byName.get(node.column)
      if (found === undefined) throw unknownColumn(node.column, view)
      const leaf = leafOf(view.table.name, found, node)
      let place = columns.findIndex((column) => column.id === found.column.id)
      if (place < 0) place = columns.push(found.column) - 1
      return { op: 'leaf', leaf, column: found.column, place }
    }
  }
}

function unknownColumn(name: string, view: TableView): SchemaMismatchError {
  const table = view.table.name
  return new SchemaMismatchError(`${table}: no column ${JSON.stringify(name)}${didYouMean(name, view.byName.keys())}`, { details: { table, column: name } })
}

/** What the kernels make of a node: leaves are evaluated when they can still matter. */
function expressionOf(node: CompiledNode, vecs: readonly Vec[], length: number): BitmapExpression {
  switch (node.op) {
    case 'leaf':
      return () => leafBitmap(node.leaf, valueKindOf(node.column.type), vecs[node.place]!, length)
    case 'not':
      return { not: expressionOf(node.of, vecs, length) }
    case 'and':
      return { and: node.of.map((one) => expressionOf(one, vecs, length)) }
    case 'or':
      return { or: node.of.map((one) => expressionOf(one, vecs, length)) }
  }
}
