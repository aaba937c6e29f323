// cli/demo/tally.ts: sums over the flights, taken from the file's arrays while they are imported: what the store's answers are held against.
//
// Invariant: nothing here asks the store.

export interface Sums {
  flights: number
  /** With a delay that is known. */
  known: number
  delay: number
}

export interface FlightColumns {
  readonly id: BigInt64Array
  /** Microseconds since 1970, local time of the airport. */
  readonly date: BigInt64Array
  readonly delay: ArrayLike<number | null>
  readonly distance: ArrayLike<number>
  readonly origin: readonly string[]
  readonly destination: readonly string[]
}

const HOUR_US = 3_600_000_000

export class Tally {
  rows = 0
  distance = 0
  /** Flights whose id divides by ten: those that are corrected later. */
  tenths = 0
  tenthsKnown = 0
  readonly all: Sums = { flights: 0, known: 0, delay: 0 }
  readonly hours: Sums[] = Array.from({ length: 24 }, () => ({ flights: 0, known: 0, delay: 0 }))
  readonly routes: Map<string, Map<string, Sums>> = new Map()

  add(flights: FlightColumns): void {
    const { id, date, delay, distance, origin, destination } = flights
    const ids = numbersOf(id)
    const dates = numbersOf(date)
    for (let i = 0; i < id.length; i++) {
      const minutes = delay[i] ?? null
      count(this.all, minutes)
      count(this.hours[hourOf(dates(i))]!, minutes)
      count(this.route(origin[i]!, destination[i]!), minutes)
      this.distance += distance[i]!
      if (ids(i) % 10 !== 0) continue
      this.tenths++
      if (minutes !== null) this.tenthsKnown++
    }
    this.rows += id.length
  }

  route(origin: string, destination: string): Sums {
    let to = this.routes.get(origin)
    if (to === undefined) this.routes.set(origin, (to = new Map()))
    let sums = to.get(destination)
    if (sums === undefined) to.set(destination, (sums = { flights: 0, known: 0, delay: 0 }))
    return sums
  }

  get routeCount(): number {
    return [...this.routes.values()].reduce((n, to) => n + to.size, 0)
  }
}

export function count(sums: Sums, delay: number | null): void {
  sums.flights++
  if (delay === null) return
  sums.known++
  sums.delay += delay
}

export function hourOf(dateUs: number): number {
  return Math.floor(dateUs / HOUR_US) % 24
}

/** 64-bit integers as doubles, which hold all that are here, without a bigint for each. */
export function numbersOf(values: BigInt64Array): (index: number) => number {
  const words = new Int32Array(values.buffer, values.byteOffset, values.length * 2)
  return (index) => words[index * 2 + 1]! * 2 ** 32 + (words[index * 2]! >>> 0)
}
