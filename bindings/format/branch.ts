// format/branch.ts: the payload of a `branch` record (kind 9): positions with names come and go, one record each (docs/format.md section "Branch").
//
//   u8 version | u53 time ms | 16 B id | u8 op | text name | by op:
//     1 create:  varint branch number | varint parent's number | varint LSN that it begins at
//     2 delete:  varint branch number
//     3 tag:     varint branch number | varint LSN | text message or ""
//     4 untag:   nothing
//
// Invariant: the number of a branch is used once in the life of a store; the id of its create record is its incarnation (`branchId`).

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { WRITE_ID_BYTES } from './commit.ts'

const BRANCH_VERSION = 1
const OP_CREATE = 1
const OP_DELETE = 2
const OP_TAG = 3
const OP_UNTAG = 4

export type BranchChange =
  /** `branch`: its number; `from`: the position on `parent` whose rows it begins with. */
  | { readonly op: 'create'; readonly name: string; readonly branch: number; readonly parent: number; readonly from: number }
  | { readonly op: 'delete'; readonly name: string; readonly branch: number }
  | { readonly op: 'tag'; readonly name: string; readonly branch: number; readonly lsn: number; readonly message?: string }
  | { readonly op: 'untag'; readonly name: string }

export interface BranchRecord {
  readonly timeMs: number
  /** 16 bytes, a ULID. */
  readonly id: Uint8Array
  readonly change: BranchChange
}

export function encodeBranch(w: ByteWriter, { timeMs, id, change }: BranchRecord): void {
  w.u8(BRANCH_VERSION)
  w.u53(timeMs)
  w.raw(id)
  w.u8(change.op === 'create' ? OP_CREATE : change.op === 'delete' ? OP_DELETE : change.op === 'tag' ? OP_TAG : OP_UNTAG)
  w.text(change.name)
  switch (change.op) {
    case 'create':
      w.varint(change.branch)
      w.varint(change.parent)
      w.varint(change.from)
      break
    case 'delete':
      w.varint(change.branch)
      break
    case 'tag':
      w.varint(change.branch)
      w.varint(change.lsn)
      w.text(change.message ?? '')
      break
    case 'untag':
      break
  }
}

/** @throws DecodeError */
export function decodeBranch(r: ByteReader): BranchRecord {
  const version = r.u8()
  if (version !== BRANCH_VERSION) throw new DecodeError(`branch record version ${version}`, r.at - 1)
  const record = { timeMs: r.u53(), id: r.raw(WRITE_ID_BYTES).slice(), change: decodeChange(r) }
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a branch record`, r.at)
  return record
}

function decodeChange(r: ByteReader): BranchChange {
  const op = r.u8()
  const name = r.text()
  switch (op) {
    case OP_CREATE:
      return { op: 'create', name, branch: r.varint(), parent: r.varint(), from: r.varint() }
    case OP_DELETE:
      return { op: 'delete', name, branch: r.varint() }
    case OP_TAG: {
      const place = { branch: r.varint(), lsn: r.varint() }
      const message = r.text()
      return { op: 'tag', name, ...place, ...(message === '' ? {} : { message }) }
    }
    case OP_UNTAG:
      return { op: 'untag', name }
    default:
      throw new DecodeError(`branch operation ${op}`, r.at - 1)
  }
}
