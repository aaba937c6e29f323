// A call of the file system fails outside of the log: staged files, their final names, checkpoints. Such a write is refused or it stands, never half, and the handle goes on.

import { StorageError } from '../../../../bindings/index.ts'
import type { FakeOp } from '../../../../bindings/testing/index.ts'
import { apply, type Change, perform } from '../../store-model.ts'
import type { Life, OpKind } from '../life.ts'
import { drawChange, drawLoad } from './changes.ts'

interface Spoilt {
  /** null: a flush with a checkpoint. */
  readonly change: Change | null
  readonly op: FakeOp | null
  /** Of the calls of that kind, from 1. */
  readonly k: number
  readonly error: string
  readonly effect: 'none' | 'half' | 'whole'
}

const PLACES = /\/(staging|fragments|indexes|checkpoints)(\/|$)/
const OPS: readonly (FakeOp | null)[] = ['write', 'sync', 'sync', 'link', 'syncDir', 'syncDir', 'unlink', 'mkdir', 'rmdir', 'open', 'read', null, null]
/** What changes the disk. */
const CHANGES: ReadonlySet<FakeOp> = new Set(['write', 'datasync', 'sync', 'link', 'rename', 'syncDir', 'unlink', 'mkdir', 'rmdir', 'truncate'])

export const spoilt: OpKind<Spoilt> = {
  name: 'spoilt',
  weight: 3,
  draw: (dice) => ({
    change: dice.once(4) ? null : dice.once(3) ? drawChange(dice) : drawLoad(dice),
    op: dice.pick(OPS),
    k: 1 + dice.int(dice.pick([1, 1, 3, 8])),
    error: dice.pick(['EIO', 'ENOSPC']),
    effect: dice.pick(['none', 'half', 'whole']),
  }),
  async run(life, { change, op, k, error, effect }) {
    if (change !== null && !life.tables.includes(change.table)) return
    const right = change === null ? life.state : apply(life.state, change)?.state
    if (right === undefined) return
    const isMeant = (call: FakeOp): boolean => (op === null ? CHANGES.has(call) : call === op)
    life.files.failAt(k, { error, effect }, (call) => isMeant(call.op) && (PLACES.test(call.path) || (call.to !== undefined && PLACES.test(call.to))))
    try {
      await run(life, change, right)
    } catch (refused) {
      if (!(refused instanceof StorageError)) throw refused
    } finally {
      life.files.plan(undefined)
    }
  },
}

async function run(life: Life, change: Change | null, right: Life['state']): Promise<void> {
  if (change === null) return life.store.flush()
  const lsn = Number((await perform(life.store, change)).lsn)
  life.acknowledge(lsn)
  life.committed(lsn, right)
}
