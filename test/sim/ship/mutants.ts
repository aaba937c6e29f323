// Defects that the simulation must notice, the twelve of shipping.md section 17 first: each is one rule of the product that is broken here, from outside, and put back.
//
// The network and the votes of the service around the cluster are seams of the simulation; the rest are methods that are replaced while a defect is on.

import type { AckMode } from '../../../bindings/format/index.ts'
import { AckTracker, candidates, type NodeRecord, Planner, type Promotion, Sender, type WireFrame } from '../../../bindings/ship/index.ts'
import { Session } from '../../../bindings/ship/session.ts'
import { Run } from '../../../bindings/ship/executor.ts'
import { LinkIO } from '../../../bindings/ship/link-io.ts'
import { QuorumGate } from '../../../bindings/store/quorum-gate.ts'
import { ReplicaNode } from '../../../bindings/store/replica-node.ts'
import type { Cluster } from './cluster.ts'
import type { Process } from './machine.ts'
import { weakest } from './modes.ts'

/** What a defect breaks in the simulation's own seams. */
export interface Seams {
  /** What a process is handed in place of a frame. */
  readonly taken?: (process: Process, frame: WireFrame, isPrimary: boolean) => WireFrame
  readonly candidates?: typeof candidates
  /** Names that a disk says it has synced, and has not. */
  readonly forgets?: RegExp
}

export interface Mutant {
  readonly name: string
  /** @returns what undoes it */
  readonly install?: (cluster: Cluster) => () => void
  readonly seams?: Seams
}

type Patchable = Record<string, (...args: never[]) => unknown>

/** Replaces a method while the defect is on. */
function replace(
  of: object,
  method: string,
  make: (original: (this: never, ...args: never[]) => unknown) => (this: never, ...args: never[]) => unknown,
): () => void {
  const target = of as Patchable
  const original = target[method]!
  target[method] = make(original as never) as never
  return () => void (target[method] = original)
}

function all(...undo: (() => void)[]): () => void {
  return () => {
    for (const each of undo) each()
  }
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'skip the fence check in recordProgress',
    install: () =>
      all(
        replace(Sender.prototype, 'checkFence', () => () => undefined),
        replace(
          Sender.prototype,
          'recordProgress',
          (original) =>
            function (this: Sender, _id: never, lsn: never) {
              const session = this.session()
              return session === null ? undefined : original.call(this as never, session.id as never, lsn)
            } as never,
        ),
      ),
  },
  {
    name: 'LSN-only zero gap',
    // As if no replica sent its lineage, and the numbers proved something.
    install: () =>
      replace(
        Sender.prototype,
        'recordHandshake',
        (original) =>
          function (
            this: Sender,
            id: never,
            hello: { durableLsn: number; lineage: unknown },
            history: { committedLsn: number } | null,
            agreement: never,
            o: never,
          ) {
            const isEqual = history !== null && hello.durableLsn === history.committedLsn
            return original.call(
              this as never,
              id,
              (isEqual ? { ...hello, lineage: null } : hello) as never,
              history as never,
              (isEqual ? null : agreement) as never,
              o,
            )
          } as never,
      ),
  },
  {
    name: 'complete without truncation',
    install: () =>
      all(
        replace(
          Session.prototype,
          'handshaken',
          (original) =>
            function (this: Session, handshake: object) {
              return original.call(this as never, { ...handshake, truncateTo: null } as never)
            } as never,
        ),
        replace(
          Sender.prototype,
          'recordHandshake',
          (original) =>
            function (this: Sender, ...args: never[]) {
              return { ...(original.apply(this as never, args) as object), truncateTo: null }
            } as never,
        ),
      ),
  },
  {
    name: 'release pins before invalidation',
    install: () =>
      replace(
        Planner.prototype,
        'endSession',
        (original) =>
          function (this: Planner, plan: { pins: readonly { release(): void }[] }, ...rest: never[]) {
            for (const pin of plan.pins) pin.release()
            return original.call(this as never, plan as never, ...rest)
          } as never,
      ),
  },
  {
    name: 'count receivedLsn as durable',
    seams: {
      taken: (_, frame, isPrimary) =>
        isPrimary && frame.message.type === 'ack'
          ? { ...frame, message: { ...frame.message, durableLsn: Math.max(frame.message.durableLsn, frame.message.receivedLsn) } }
          : frame,
    },
  },
  { name: 'rank promotion by state before log', seams: { candidates: byStateFirst } },
  {
    name: 'grant stream outside the append lock',
    // The cursor is taken when the stream begins, from where the log is by then.
    install: () =>
      replace(
        Sender.prototype,
        'completeCatchUp',
        (original) =>
          function (this: Sender, ...args: never[]) {
            const grant = original.apply(this as never, args) as { cursor: number }
            return { ...grant, cursor: grant.cursor + 1 }
          } as never,
      ),
  },
  {
    name: 'tail replay before full base',
    // The base is announced, and taken for installed.
    install: () => {
      const bases = new WeakMap<object, number>()
      return all(
        replace(
          LinkIO.prototype,
          'beginBase',
          (original) =>
            function (this: LinkIO, fence: never, manifest: { baseLsn: number }, ...rest: never[]) {
              bases.set(this, manifest.baseLsn)
              return original.call(this as never, fence, manifest as never, ...rest)
            } as never,
        ),
        replace(LinkIO.prototype, 'sendFragments', () => async () => undefined),
        replace(
          LinkIO.prototype,
          'install',
          () =>
            async function (this: LinkIO) {
              return bases.get(this)
            } as never,
        ),
      )
    },
  },
  {
    name: 'chase C instead of the frozen target',
    install: (c) =>
      replace(
        Run.prototype,
        'stream',
        (original) =>
          function (this: Run, io: never, kind: never, o: { end: number }, record: (lsn: number) => void) {
            const lenient = (lsn: number): void => record(Math.min(lsn, o.end))
            return original.call(this as never, io, kind, { ...o, end: Math.max(o.end, c.writer?.committed ?? 0) } as never, lenient as never)
          } as never,
      ),
  },
  {
    name: 'forget release on the hook exception',
    install: () => {
      const forgotten = new WeakSet<object>()
      return all(
        replace(
          Run.prototype,
          'step',
          (original) =>
            async function (this: Run, ...args: never[]) {
              try {
                return await original.apply(this as never, args)
              } catch (error) {
                if ((error as { details?: { reason?: string } }).details?.reason === 'step_hook_failed') forgotten.add(this.plan)
                throw error
              }
            } as never,
        ),
        replace(
          Planner.prototype,
          'release',
          (original) =>
            function (this: Planner, plan: never) {
              return forgotten.has(plan) || original.call(this as never, plan)
            } as never,
        ),
      )
    },
  },
  { name: 'install without the atomic switch', seams: { forgets: /^bases\// } },
  {
    name: 'accept older-epoch commit by count alone',
    install: () =>
      replace(
        AckTracker.prototype,
        'committedIn',
        () =>
          function (this: { count(mode: string): number; best: Record<string, number> }, mode: string) {
            return (this.best[mode] = Math.max(this.best[mode]!, this.count(mode)))
          } as never,
      ),
  },
  {
    name: 'acknowledge what asks for more nodes by the mode alone',
    install: () => replace(QuorumGate.prototype, 'confirmed', () => async () => undefined),
  },
  { name: 'tell nobody of a replica that failed', install: () => replace(ReplicaNode.prototype, 'failed', () => () => undefined) },
  {
    name: 'begin to ship with what is there as on all nodes',
    install: () => {
      const begun = new WeakSet<object>()
      return replace(
        AckTracker.prototype,
        'local',
        (original) =>
          function (this: { best: Record<AckMode, number> }, lsn: number) {
            original.call(this as never, lsn as never)
            if (!begun.has(this)) this.best.quorum = this.best.all = lsn
            begun.add(this)
          } as never,
      )
    },
  },
  {
    name: 'count by a weaker mode before its record is committed',
    install: () =>
      replace(
        QuorumGate.prototype,
        'queued',
        (original) =>
          function (this: { counted: AckMode }, lsn: never, record: { mode: AckMode }) {
            original.call(this as never, lsn, record as never)
            this.counted = weakest([this.counted, record.mode])
          } as never,
      ),
  },
]

function byStateFirst(...[records, mode, nodes, context]: Parameters<typeof candidates>): Promotion {
  const ranks = ['in_sync', 'catching_up', 'degraded']
  const rank = ({ state }: NodeRecord): number => ranks.indexOf(state)
  const promotion = candidates(records, mode, nodes, context)
  if (promotion.reason === 'too_few_records') return promotion
  const best = records.filter((record) => rank(record) >= 0 && record.role === 'voter').toSorted((a, b) => rank(a) - rank(b))
  return { ...promotion, reason: 'ok', candidates: best }
}
