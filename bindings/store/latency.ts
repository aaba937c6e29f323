// store/latency.ts: how long things took of late: percentiles over a sliding window, in memory that never grows.
//
// Buckets as in HdrHistogram (Tene, hdrhistogram.org): exact below 64 µs, from there 32 of equal width to each power of two, so a value is told within 1/32 of itself.
// The window is slices of time, each a histogram; the oldest is emptied when its time is over. Invariant: record() allocates nothing and takes constant time.

const SUB_BITS = 5
const SUB = 1 << SUB_BITS
/** 2^26 µs: some 67 s; what takes longer is counted there. */
const MICROS_MAX = 2 ** 26 - 1
const BUCKETS: number = bucketOf(MICROS_MAX) + 1
const SLICES = 6
const SLICE_MS = 10_000

export const LATENCY_WINDOW_MS: number = SLICES * SLICE_MS

export interface Latencies {
  readonly count: number
  /** From when on they were counted, at most LATENCY_WINDOW_MS ago. */
  readonly windowMs: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

interface Slice {
  /** Which stretch of SLICE_MS it counts; -1: none. */
  turn: number
  count: number
  maxMicros: number
  readonly buckets: Uint32Array
}

export class LatencyWindow {
  private readonly slices: readonly Slice[] = Array.from({ length: SLICES }, () => ({ turn: -1, count: 0, maxMicros: 0, buckets: new Uint32Array(BUCKETS) }))
  private readonly startedMs: number

  /** @param nowMs  of a clock that never goes back; the same for all calls */
  constructor(nowMs: number) {
    this.startedMs = nowMs
  }

  record(durationMs: number, nowMs: number): void {
    const turn = Math.floor(nowMs / SLICE_MS)
    const slice = this.slices[turn % SLICES]!
    if (slice.turn !== turn) {
      slice.turn = turn
      slice.count = 0
      slice.maxMicros = 0
      slice.buckets.fill(0)
    }
    const micros = Math.min(MICROS_MAX, Math.max(0, Math.round(durationMs * 1000)))
    slice.count++
    if (micros > slice.maxMicros) slice.maxMicros = micros
    slice.buckets[bucketOf(micros)]!++
  }

  /** In ms. Of nothing: zeros. */
  summary(nowMs: number): Latencies {
    const turn = Math.floor(nowMs / SLICE_MS)
    const recent = this.slices.filter((slice) => slice.turn > turn - SLICES)
    const count = recent.reduce((sum, slice) => sum + slice.count, 0)
    const maxMicros = recent.reduce((most, slice) => Math.max(most, slice.maxMicros), 0)
    // The slice under way is younger than SLICE_MS.
    const windowMs = Math.min(nowMs - this.startedMs, (SLICES - 1) * SLICE_MS + (nowMs - turn * SLICE_MS))
    const at = (share: number): number => Math.min(maxMicros, percentile(recent, Math.ceil(count * share))) / 1000
    return { count, windowMs, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: maxMicros / 1000 }
  }
}

/** The highest value of the bucket that holds the `rank`-th smallest, in µs. */
function percentile(slices: readonly Slice[], rank: number): number {
  if (rank === 0) return 0
  let seen = 0
  for (let i = 0; i < BUCKETS; i++) {
    for (const { buckets } of slices) seen += buckets[i]!
    if (seen >= rank) return highestOf(i)
  }
  return MICROS_MAX
}

function bucketOf(micros: number): number {
  const shift = Math.max(0, 31 - SUB_BITS - Math.clz32(micros))
  return shift * SUB + (micros >>> shift)
}

function highestOf(bucket: number): number {
  const shift = Math.max(0, (bucket >>> SUB_BITS) - 1)
  return ((bucket - shift * SUB + 1) << shift) - 1
}
