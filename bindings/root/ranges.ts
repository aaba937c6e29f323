// root/ranges.ts: which bytes of an object a range asks for. One rule for every kind of root.
import type { GetRange } from './root.ts'

/** Half-open bytes of an object of `size`; a suffix longer than the object is the whole object. @throws RangeError beyond the end */
export function resolveRange(name: string, size: number, range: GetRange | undefined): { start: number; end: number } {
  if (range === undefined) return { start: 0, end: size }
  if ('suffix' in range) {
    if (!Number.isSafeInteger(range.suffix) || range.suffix < 0) throw new RangeError(`${name}: suffix ${range.suffix} is not a natural number`)
    return { start: Math.max(0, size - range.suffix), end: size }
  }
  const { start, end } = range
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) throw new RangeError(`${name}: bad range ${start}..${end}`)
  if (end > size) throw new RangeError(`${name}: range ${start}..${end} is beyond the end at ${size}`)
  return { start, end }
}
