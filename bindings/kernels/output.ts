// kernels/output.ts: the bytes of a result that kernels write piece after piece.
//
// Results of ordinary size are put together in kernel memory and leave it in one copy: a fresh buffer is then touched once, where allocating it zeroed and
// filling it touches it twice (1.5x on a filter). Large ones leave piece by piece. Invariant: exactly `bytes` bytes are written before finish.
import { assert } from '../assert.ts'
import type { KernelInstance } from './instance.ts'

const TOGETHER_BYTES_MAX = 32 << 20

export class Output {
  readonly #k: KernelInstance
  readonly #bytes: number
  readonly #start: number
  readonly #result: Uint8Array<ArrayBuffer> | undefined
  #written = 0
  /** Where the next piece goes in kernel memory. */
  at: number

  /** `pieceBytes`: room for one piece with its slack. Reserves scratch that the caller gives back. */
  constructor(k: KernelInstance, bytes: number, pieceBytes: number) {
    this.#k = k
    this.#bytes = bytes
    const together = bytes <= TOGETHER_BYTES_MAX
    this.#result = together ? undefined : new Uint8Array(bytes)
    // A piece may be longer than what is left when the caller stated too small a total: finish says so, memory stays whole.
    this.#start = k.arena.reserve(together ? bytes + pieceBytes : pieceBytes)
    this.at = this.#start
  }

  /** The piece at `at` has that many bytes. */
  wrote(bytes: number): void {
    this.#written += bytes
    assert(this.#written <= this.#bytes, 'a result has the stated size', { stated: this.#bytes, written: this.#written })
    if (this.#result === undefined) this.at += bytes
    else this.#result.set(this.#k.u8.subarray(this.#start, this.#start + bytes), this.#written - bytes)
  }

  finish(): Uint8Array<ArrayBuffer> {
    assert(this.#written === this.#bytes, 'a result has the stated size', { stated: this.#bytes, written: this.#written })
    return this.#result ?? this.#k.copyOut(this.#start, this.#bytes)
  }
}
