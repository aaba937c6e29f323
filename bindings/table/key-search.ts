// table/key-search.ts: a 64-bit integer in a strictly ascending column of them.
//
// Keys are often close to evenly spaced, so the search starts where the key would be if they were, goes outwards in doubling steps until it has passed
// the key, and bisects what lies between: a cache miss or two for sequential keys, never worse than twice a bisection.

const WORD = 0x1_0000_0000

/** Row of the key (8 bytes little-endian), or -1 - the number of rows below it. `words`: (low, high) words of the column. */
export function searchWords(words: Uint32Array, signed: boolean, key: Uint8Array): number {
  const low = (key[0]! | (key[1]! << 8) | (key[2]! << 16) | (key[3]! << 24)) >>> 0
  const top = key[4]! | (key[5]! << 8) | (key[6]! << 16) | (key[7]! << 24)
  const high = signed ? top : top >>> 0
  const count = words.length >>> 1
  if (count === 0) return -1
  const at = (row: number): number => {
    const word = words[2 * row + 1]!
    return ((signed ? word | 0 : word) - high) * WORD + (words[2 * row]! - low)
  }
  // Differences to the key; rounding past 2^53 keeps sign and zero.
  const first = at(0)
  const last = at(count - 1)
  if (first > 0) return -1
  if (last < 0) return -1 - count
  if (first === 0) return 0
  if (last === 0) return count - 1
  let start = 0
  let end = count - 1
  const guess = Math.min(end - 1, Math.max(1, Math.floor((-first / (last - first)) * end)))
  const difference = at(guess)
  if (difference === 0) return guess
  if (difference < 0) {
    start = guess
    for (let step = 1; start + step < end; step *= 2) {
      const order = at(start + step)
      if (order === 0) return start + step
      if (order > 0) {
        end = start + step
        break
      }
      start += step
    }
  } else {
    end = guess
    for (let step = 1; end - step > start; step *= 2) {
      const order = at(end - step)
      if (order === 0) return end - step
      if (order < 0) {
        start = end - step
        break
      }
      end -= step
    }
  }
  // The key, if there, lies strictly between start and end.
  while (end - start > 1) {
    const mid = (start + end) >>> 1
    const order = at(mid)
    if (order === 0) return mid
    if (order < 0) start = mid
    else end = mid
  }
  return -1 - end
}
