// Records that a writer has let go of and may not have made durable yet, as its frames show them: a replica may hold such a record durably before its primary does.
//
// They enter the tree of histories only where somebody holds one that is not known otherwise.

import { FRAME_HEADER_BYTES, frameBytes, KIND_FOOTER, KIND_MARK } from '../../../bindings/format/index.ts'
import type { WireFrame } from '../../../bindings/ship/index.ts'
import { ancestor, type HistoryTree, type Place } from './history.ts'

type Entries = Extract<WireFrame['message'], { type: 'entries' }>

export class Written {
  /** Where the writer's log ended when it was looked at last. */
  #known: Place
  /** By first LSN, without those that the writer's log is known to hold. */
  readonly #frames = new Map<number, { readonly last: number; readonly bytes: Uint8Array }>()

  constructor(known: Place) {
    this.#known = known
  }

  sent({ first, count, base, bytes }: Entries): void {
    const last = first + count - 1
    if (base || last <= this.#known.lsn || (this.#frames.get(first)?.last ?? 0) >= last) return
    this.#frames.set(first, { last, bytes: bytes.slice() })
  }

  /** The writer's log has been looked at. */
  durable(known: Place): void {
    this.#known = known
    for (const [first, { last }] of this.#frames) if (last <= known.lsn) this.#frames.delete(first)
  }

  /** Takes them into the tree, on top of what is known of that log. @returns where they end  @throws what is wrong with them */
  enter(tree: HistoryTree): Place {
    let tip = this.#known
    for (const [first, { last, bytes }] of [...this.#frames].toSorted(([a], [b]) => a - b)) {
      if (first > tip.lsn + 1 || last <= tip.lsn) continue
      tip = tree.extend(ancestor(tip, first - 1)!, { bytes, offsets: offsetsOf(bytes) })
    }
    return tip
  }
}

function offsetsOf(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const offsets: number[] = []
  for (let at = 0; at < bytes.length; at += frameBytes(view.getUint32(at + 8, true))) {
    const kind = bytes[at + 12]!
    if (at + FRAME_HEADER_BYTES <= bytes.length && kind !== KIND_MARK && kind !== KIND_FOOTER) offsets.push(at)
  }
  return Uint32Array.from(offsets)
}
