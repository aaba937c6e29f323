// Branches and tags in the fold: names, numbers, what stands on what, and their section of a checkpoint.

import { describe, expect, it } from 'vitest'

import { Branches, Catalog, checkpointBody, decodeCheckpoint, encodeCheckpoint, MAIN_PATH } from '../../../bindings/catalog/index.ts'
import { type BranchChange, ByteReader, ByteWriter, DecodeError, decodeBranch, decodeFlush, encodeBranch, encodeFlush } from '../../../bindings/format/index.ts'
import { InvariantError } from '../../../bindings/index.ts'

const id = (n: number): Uint8Array => new Uint8Array(16).fill(n)
const record = (change: BranchChange, timeMs: number = 10): Parameters<Branches['fold']>[1] => ({ timeMs, id: id(7), change })
const create = (name: string, branch: number, parent: number, from: number): BranchChange => ({ op: 'create', name, branch, parent, from })

/** main - dev (from 5, at 6) - sub (from 8, at 9); tag v1 on dev at 7. */
function tree(): Branches {
  const branches = Branches.none()
  branches.fold(6, record(create('dev', 1, 0, 5)))
  branches.touch(1, 8)
  branches.fold(9, record(create('sub', 2, 1, 8)))
  branches.fold(10, record({ op: 'tag', name: 'v1', branch: 1, lsn: 7, message: 'first' }, 99))
  return branches
}

describe('branches in the fold', () => {
  it('are found by name and number, with where they begin and what changed them last', () => {
    const branches = tree()
    expect(branches.named('dev')).toMatchObject({ id: 1, parent: 0, fromLsn: 5, createdLsn: 6, head: 8, branchId: id(7) })
    expect(branches.numbered(2)).toMatchObject({ name: 'sub', parent: 1, fromLsn: 8, head: 8 })
    expect(branches.tag('v1')).toEqual({ name: 'v1', branch: 1, lsn: 7, timeMs: 99, message: 'first' })
    expect(branches.live().map(({ name }) => name)).toEqual(['dev', 'sub'])
    expect([branches.nameOf(0), branches.nameOf(2), branches.nameOf(9)]).toEqual(['main', 'sub', 'branch 9'])
  })

  it('are made of the records of those they stand on, each up to where the next begins', () => {
    const branches = tree()
    expect(branches.path(0)).toBe(MAIN_PATH)
    expect(branches.path(2)).toEqual([
      { branch: 0, upto: 5 },
      { branch: 1, upto: 8 },
      { branch: 2, upto: Number.POSITIVE_INFINITY },
    ])
    expect([5, 6, 8, 9].map((lsn) => branches.ownerAt(2, lsn))).toEqual([0, 1, 1, 2])
    expect(branches.ownerAt(0, 3)).toBe(0)
  })

  it('are kept while a branch or a tag stands on them, though their names are free', () => {
    const branches = tree()
    branches.fold(11, record({ op: 'delete', name: 'dev', branch: 1 }))
    expect(branches.named('dev')).toBeUndefined()
    expect(branches.isFree('dev')).toBe(true)
    expect(branches.isLive(1)).toBe(false)
    expect(branches.path(2)).toHaveLength(3)
    branches.fold(12, record({ op: 'delete', name: 'sub', branch: 2 }))
    expect(branches.numbered(2)).toBeUndefined()
    expect(branches.numbered(1)).toMatchObject({ isDeleted: true })
    branches.fold(13, record({ op: 'untag', name: 'v1' }))
    expect(branches.numbered(1)).toBeUndefined()
    expect(branches.nextId).toBe(3)
  })

  it.each([
    ['a name that a branch has', create('dev', 3, 0, 5)],
    ['a name that a tag has', create('v1', 3, 0, 5)],
    ['main', create('main', 3, 0, 5)],
    ['a number that was used', create('new', 2, 0, 5)],
    ['a parent that is not there', create('new', 3, 9, 5)],
    ['a position of the future', create('new', 3, 0, 20)],
    ['a branch that is not there', { op: 'delete', name: 'x', branch: 9 }],
    ['a tag on a branch that is not there', { op: 'tag', name: 'x', branch: 9, lsn: 1 }],
    ['a tag that is not there', { op: 'untag', name: 'dev' }],
  ] satisfies [string, BranchChange][])('contradict themselves with %s', (_, change) => {
    expect(() => tree().fold(20, record(change))).toThrow(InvariantError)
  })

  it('are not written to once they are deleted', () => {
    const branches = tree()
    branches.fold(11, record({ op: 'delete', name: 'dev', branch: 1 }))
    expect(() => branches.touch(1, 12)).toThrow(InvariantError)
  })
})

describe('branches in a checkpoint', () => {
  it('come back as they were, those that others stand on included', () => {
    const catalog = new Catalog()
    const bytes = (of: Catalog): Uint8Array => encodeCheckpoint(id(1), of.lsn, new Uint8Array(32), checkpointBody(of))
    catalog.branches = tree()
    catalog.branches.fold(11, record({ op: 'delete', name: 'dev', branch: 1 }))
    const read = decodeCheckpoint(bytes(catalog)).catalog
    expect(bytes(read)).toEqual(bytes(catalog))
    expect(read.branches.path(2)).toEqual(catalog.branches.path(2))
    read.branches.fold(12, record({ op: 'delete', name: 'sub', branch: 2 }))
    read.branches.fold(13, record({ op: 'untag', name: 'v1' }))
    expect(read.branches.numbered(1)).toBeUndefined()
  })

  it('are listed by name, whatever the order in which they were made', () => {
    const branches = Branches.none()
    branches.fold(6, record(create('z', 1, 0, 5)))
    branches.fold(7, record(create('a', 2, 0, 5)))
    branches.fold(8, record({ op: 'tag', name: 'y', branch: 0, lsn: 5 }))
    branches.fold(9, record({ op: 'tag', name: 'b', branch: 0, lsn: 5 }))
    const read = Branches.of(new Uint8Array(branches.encode()))
    expect(read.live().map(({ name }) => name)).toEqual(['a', 'z'])
    expect(read.tags().map(({ name }) => name)).toEqual(['b', 'y'])
    expect(read.encode()).toEqual(branches.encode())
    read.touch(1, 10)
    expect(read.encode()).not.toEqual(branches.encode())
  })
})

describe('branch records', () => {
  const changes: BranchChange[] = [
    create('dev/a.b-c', 3, 1, 70_000),
    { op: 'delete', name: 'dev', branch: 300 },
    { op: 'tag', name: 'v1', branch: 2, lsn: 9, message: 'first' },
    { op: 'tag', name: 'v2', branch: 0, lsn: 0 },
    { op: 'untag', name: 'v1' },
  ]
  const bytesOf = (change: BranchChange): Uint8Array => {
    const w = new ByteWriter()
    encodeBranch(w, record(change, 1234))
    return w.finish()
  }

  it.each(changes)('of %o read back', (change) => {
    expect(decodeBranch(new ByteReader(bytesOf(change)))).toEqual(record(change, 1234))
  })

  it('of another version, an unknown operation or with bytes behind are refused', () => {
    const bytes = bytesOf(changes[0]!)
    const with_ = (at: number, value: number): Uint8Array => bytes.slice().fill(value, at, at + 1)
    expect(() => decodeBranch(new ByteReader(with_(0, 2)))).toThrow(DecodeError)
    expect(() => decodeBranch(new ByteReader(with_(25, 9)))).toThrow('branch operation 9')
    expect(() => decodeBranch(new ByteReader(Uint8Array.of(...bytes, 0)))).toThrow('1 bytes behind')
  })
})

describe('flush records', () => {
  const flush = { writeId: id(3), tableId: 4, timeMs: 5, uptoLsn: 6, uptoRow: 7, fragments: [], hides: [], deletionVectors: [] }

  it.each([0, 1, 200])('of branch %d read back; those of main as version 1', (branch) => {
    const w = new ByteWriter()
    encodeFlush(w, { ...flush, branch })
    const bytes = w.finish()
    expect(bytes[0]).toBe(branch === 0 ? 1 : 2)
    expect(decodeFlush(new ByteReader(bytes))).toEqual({ ...flush, branch })
  })
})
