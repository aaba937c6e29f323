// engine/last-at.ts: the part that a number falls into, of parts that begin at ascending numbers.

/** The last of `parts` that begins at or below `n`; the first where all begin above it. There is at least one. */
export function lastAt<P>(parts: readonly P[], n: number, beginOf: (part: P) => number): P {
  let low = 0
  let high = parts.length - 1
  while (low < high) {
    const mid = (low + high + 1) >> 1
    if (beginOf(parts[mid]!) <= n) low = mid
    else high = mid - 1
  }
  return parts[low]!
}
