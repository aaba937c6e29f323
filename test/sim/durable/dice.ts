// Seeded choices for the simulation.

import { seededRandom } from '../../../bindings/runtime/index.ts'

export class Dice {
  readonly #random: { u32(): number }

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** 0 .. below - 1 */
  int(below: number): number {
    return this.#random.u32() % below
  }

  /** True once in `n`. */
  once(n: number): boolean {
    return this.int(n) === 0
  }

  pick<T>(of: readonly T[]): T {
    return of[this.int(of.length)]!
  }

  list<T>(min: number, max: number, make: () => T): T[] {
    return Array.from({ length: min + this.int(max - min + 1) }, make)
  }

  seed(): number {
    return this.#random.u32()
  }
}
