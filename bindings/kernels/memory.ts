// kernels/memory.ts: what users of the kernels may know and set of their memory (one linear memory a thread, shared with the stores opened in it).
import { kernels, limitKernels, trimKernels } from './instance.ts'

const LIMIT_BYTES_MIN = 1 << 20
const LIMIT_BYTES_MAX = 4096 * 2 ** 20

export interface KernelMemory {
  /** Bytes of linear memory: it grows in steps and does not shrink. */
  readonly bytes: number
  /** Bytes handed out now, padding and holes included. */
  readonly usedBytes: number
  /** Bound of what may be handed out. */
  readonly limitBytes: number
}

/**
 * The kernel memory of this thread.
 *
 * @example kernelMemory().usedBytes // 0 between calls, when no buffer is held
 */
export function kernelMemory(): KernelMemory {
  const { arena } = kernels()
  return { bytes: arena.memoryBytes, usedBytes: arena.usedBytes, limitBytes: arena.limitBytes }
}

/**
 * Bound the kernel memory of this thread from now on; 512 MiB until then. A store opened later sets it to its own `memory.kernelBytes`: the last word counts.
 *
 * @param bytes  1 MiB .. 4 GiB. What is held above it stays; calls that need more than it throw KernelMemoryExhaustedError
 * @throws RangeError outside those bounds
 * @example limitKernelMemory(64 * 2 ** 20)
 */
export function limitKernelMemory(bytes: number): void {
  if (!(Number.isSafeInteger(bytes) && bytes >= LIMIT_BYTES_MIN && bytes <= LIMIT_BYTES_MAX)) {
    throw new RangeError(`a kernel memory limit of ${bytes} bytes: ${LIMIT_BYTES_MIN} .. ${LIMIT_BYTES_MAX} expected`)
  }
  limitKernels(bytes)
}

/**
 * Let go of kernel memory that has grown past `keepBytes`, when no buffer is held: linear memory never shrinks, so one large input would be paid for ever.
 *
 * @param keepBytes  64 MiB
 * @returns whether it was let go; the next call makes a small one
 * @cost the next call instantiates the module, well below a millisecond
 * @example trimKernelMemory(0)
 */
export function trimKernelMemory(keepBytes?: number): boolean {
  return trimKernels(keepBytes)
}
