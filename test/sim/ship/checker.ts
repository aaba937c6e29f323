// What a checker of one invariant is told, and when.

import { type RecoveryEvent, type SessionId, sessionText, type WireFrame } from '../../../bindings/ship/index.ts'
import type { Cluster } from './cluster.ts'
import type { Place, Write } from './history.ts'
import type { Machine } from './machine.ts'
import type { TappedLink } from './wires.ts'
import type { Writer } from './writer.ts'

export type Move = 'advance' | 'restart' | 'truncate' | 'install'

/** One object for each invariant of shipping.md section 17, named as there. It says what is wrong by cluster.fail(). */
export interface Checker {
  readonly name: string
  /** After every event; cheap. */
  event?(cluster: Cluster): void
  /** A write was acknowledged to its caller by the process it was given to. */
  acknowledged?(cluster: Cluster, write: Write, writer: Writer): void
  /** What a machine's log durably holds has changed, or was looked at after a start: it ends at `place`. `before`: where it ended when it was looked at last. */
  moved?(cluster: Cluster, machine: Machine, place: Place, move: Move, before: Place): void
  /** A writer has opened, on top of `place`. */
  opened?(cluster: Cluster, writer: Writer, place: Place): void
  /** Rows that somebody showed as of `place`. */
  shown?(cluster: Cluster, machine: Machine, place: Place, rows: Int32Array): void
  /** A process sent a frame, or is handed one. */
  frame?(cluster: Cluster, machine: Machine, way: 'sent' | 'taken', frame: WireFrame, link: TappedLink): void
  /** What a writer noted in its RecoveryLog. */
  noted?(cluster: Cluster, writer: Writer, event: RecoveryEvent): void
  /** The same, in the moment in which it is noted: what holds then is there to be seen. */
  told?(cluster: Cluster, writer: Writer, event: RecoveryEvent): void
  /** A machine goes down now. */
  stopped?(cluster: Cluster, machine: Machine, how: 'kill' | 'power'): void
  /** After the liveness phase. */
  end?(cluster: Cluster): void
}

/** A session of a primary by a name that no other has: two that claimed one epoch give their sessions the same ids (decision 0030). */
export function sessionOf({ name }: { readonly name: string }, id: SessionId): string {
  return `${name} ${sessionText(id)}`
}
