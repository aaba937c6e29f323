// Who counts, while that changes: the service around a cluster remembers every set of voters that a write may have been acknowledged by.
//
// varve takes an assignment as it comes. Whoever changes the voters sees to it that a promotion asks enough of the old ones and of the new ones, until a record that
// was written under the new set is committed: then every committed write is on a majority of that set too (Raft, joint consensus).

import type { Machine } from './machine.ts'
import type { Writer } from './writer.ts'

export class Electorate {
  #sets: ReadonlySet<Machine>[]
  /** Every set that there ever was. */
  readonly ever: ReadonlySet<Machine>[]
  #version = 0
  /** Counts by the current set since its log ended there. */
  #since: { readonly writer: Writer; readonly head: number } | undefined

  constructor(voters: readonly Machine[]) {
    this.#sets = [new Set(voters)]
    this.ever = [...this.#sets]
  }

  get current(): readonly Machine[] {
    return [...this.#sets.at(-1)!]
  }

  /** Sets that writes may have been acknowledged by, the newest last. */
  get counting(): readonly (readonly Machine[])[] {
    return this.#sets.map((set) => [...set])
  }

  /** @returns what to call assigned() with */
  change(voters: readonly Machine[]): number {
    const current = this.#sets.at(-1)!
    if (voters.length === current.size && voters.every((voter) => current.has(voter))) return this.#version
    this.#sets.push(new Set(voters))
    this.ever.push(this.#sets.at(-1)!)
    this.#since = undefined
    return ++this.#version
  }

  /** The writer counts by that set now. */
  assigned(version: number, writer: Writer): void {
    if (version === this.#version && this.#since?.writer !== writer) this.#since = { writer, head: Number(writer.log!.head) }
  }

  /** C of the writer has been looked at. */
  committed(writer: Writer): void {
    if (this.#sets.length > 1 && this.#since?.writer === writer && writer.committed > this.#since.head) this.#sets = this.#sets.slice(-1)
  }
}
