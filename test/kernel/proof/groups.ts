// proof/groups.ts: cases of group-table.ts and group-sums.ts.
import { integerBytes, integers, rowsOf } from './concat-predicate.ts'
import { bitAt, bitsOf, booleans, bytesOf, compareBytes, NULL_INDEX, type Proofs, type Random, randomStrings, u32s, u64s } from './harness.ts'
import type { Case, Output } from './harness.ts'

const NOTHING = new Uint8Array(0)
const GROUPS = 5

/** All rows without a list, and some of them with one; each in groups and in one. */
function* ways(n: number, random: Random): Iterable<{ listed: number[]; rows: Uint8Array; hasRows: boolean; groups: number[]; hasGroups: boolean }> {
  for (const hasRows of [false, true]) {
    for (const hasGroups of [true, false]) {
      const chosen = booleans(random, n, 0.7)
      const listed = Array.from({ length: n }, (_, i) => i).filter((i) => !hasRows || chosen[i])
      const groups = Array.from({ length: n }, () => (hasGroups ? random.below(GROUPS) : 0))
      yield { listed, rows: hasRows ? u32s(listed) : NOTHING, hasRows, groups, hasGroups }
    }
  }
}

/** Values by group, in row order. */
function byGroup<T>(listed: readonly number[], groups: readonly number[], value: (row: number) => T): T[][] {
  const out: T[][] = Array.from({ length: GROUPS }, () => [])
  for (const row of listed) out[groups[row]!]!.push(value(row))
  return out
}

const f64s = (values: readonly number[]): Uint8Array => new Uint8Array(Float64Array.from(values).buffer)

/** Runs of 128 added one by one; runs joined like the carries of a binary counter. */
class RunSum {
  run = 0
  count = 0
  full = 0
  readonly sums: number[] = []
  add(value: number): void {
    this.run += value
    if (++this.count < 128) return
    let sum = this.run
    let level = 0
    for (let k = this.full++; k & 1; k >>= 1) sum = this.sums[level++]! + sum
    this.sums[level] = sum
    this.run = 0
    this.count = 0
  }
  get total(): number {
    let sum = this.run
    for (let level = 0, full = this.full; full > 0; full >>= 1, level++) if (full & 1) sum = this.sums[level]! + sum
    return sum
  }
  /** The block: number of full runs, and the sums whose bits it has (the others may be anything). */
  holds(memory: DataView, block: number): boolean {
    if (memory.getBigUint64(block, true) !== BigInt(this.full)) return false
    for (let level = 0, full = this.full; full > 0; full >>= 1, level++)
      if (full & 1 && memory.getFloat64(block + 8 + level * 8, true) !== this.sums[level]) return false
    return true
  }
}

const BLOCK = 328
const someFloats = (n: number, random: Random): number[] => Array.from({ length: n }, () => (random.chance(0.1) ? 1e16 : random.below(1000) / 7 - 50))

/** First-seen numbers; undefined = null. Stops at `limit` values. */
function numbered(
  keys: readonly (string | undefined)[],
  listed: readonly number[],
  limit: number,
): { numbers: Map<number, number>; order: (string | undefined)[]; stop: number } {
  const order: (string | undefined)[] = []
  const numbers = new Map<number, number>()
  for (const [place, row] of listed.entries()) {
    let at = order.indexOf(keys[row])
    if (at < 0 && order.length === limit) return { numbers, order, stop: place }
    if (at < 0) at = order.push(keys[row]) - 1
    numbers.set(row, at)
  }
  return { numbers, order, stop: listed.length }
}

/** What lies at `out` afterwards: rows that were not listed stay. Where there was no room, rows behind it may hold anything. */
function checkNumbers(what: string, memory: DataView, out: number, numbers: ReadonlyMap<number, number>): void {
  for (const [row, number] of numbers)
    if (memory.getUint32(out + row * 4, true) !== number)
      throw new Error(`${what}: row ${row} has number ${memory.getUint32(out + row * 4, true)}, expected ${number}`)
}

export const GROUPED: Proofs = {
  *group_words(n, random) {
    for (const direct of [0, 1]) {
      for (const limit of [512, 4]) {
        const words = Array.from({ length: n }, () =>
          direct === 1 ? BigInt(random.below(30)) : BigInt.asUintN(64, BigInt(random.below(40)) * 0x9e37_79b9_7f4a_7c15n),
        )
        const valid = booleans(random, n, 0.9)
        for (const { listed, rows, hasRows } of ways(n, random)) {
          const keys = words.map((word, i) => (valid[i] ? String(word) : undefined))
          const { numbers, order, stop } = numbered(keys, listed, limit)
          const head = u32s([0, 1023, direct, 0, limit, 0, 0, 0, 0, 0, 0])
          const entries = u64s(order.map((key) => BigInt(key ?? 0)))
          const slots = new Uint8Array(1024 * 4)
          yield {
            inputs: [u64s(words), bitsOf(valid), rows],
            outputs: [
              { before: head, expected: NOTHING, slack: head.length },
              { before: slots, expected: NOTHING, slack: slots.length },
              // Entry 0 is read before it is there.
              { expected: entries, padding: 8 },
              { expected: NOTHING, slack: n * 4 },
            ],
            addresses: (view, at) => {
              view.setUint32(at[3]!, at[4]!, true)
              view.setUint32(at[3]! + 24, at[5]!, true)
            },
            call: (x, at) => x.group_words(at[0]!, at[1]!, hasRows ? at[2]! : 0, 0, listed.length, at[3]!, at[6]!),
            result: stop,
            check: (memory, at) => {
              checkNumbers(`group_words n=${n}`, memory, at[6]!, numbers)
              if (memory.getUint32(at[3]! + 12, true) !== order.length || memory.getUint32(at[3]! + 20, true) !== order.indexOf(undefined) + 1)
                throw new Error(`group_words n=${n}: size or null`)
            },
          }
        }
      }
    }
  },
  *group_bytes(n, random) {
    for (const [limit, capacity] of [
      [512, 1 << 14],
      [4, 1 << 14],
      [512, 40],
    ] as const) {
      const made = randomStrings(n, random, 12)
      const valid = booleans(random, n, 0.9)
      for (const fixed of [false, true]) {
        const data = fixed ? rowsOf(random, n, 9) : made.data
        const strings = fixed ? made.rows.map((_, i) => data.subarray(i * 9, i * 9 + 9)) : made.rows
        const chosen = booleans(random, n, 0.7)
        const listed = strings.map((_, i) => i).filter((i) => fixed || chosen[i])
        const keys = strings.map((row, i) => (valid[i] ? Buffer.from(row).toString('hex') : undefined))
        // Room runs out by values or by bytes.
        let places = numbered(keys, listed, limit)
        const bytesOfOrder = (order: readonly (string | undefined)[]): number => order.reduce((sum, key) => sum + (key?.length ?? 0) / 2, 0)
        for (let most = places.order.length; bytesOfOrder(places.order) > capacity;) places = numbered(keys, listed, --most)
        const { numbers, order, stop } = places
        const ends = [0]
        for (const key of order) ends.push(ends.at(-1)! + (key?.length ?? 0) / 2)
        const kept = new Uint8Array(Buffer.from(order.join(''), 'hex'))
        const head = u32s([0, 1023, 0, 0, limit, 0, 0, 0, capacity, 0, 0])
        yield {
          inputs: [fixed ? NOTHING : made.offsets, data, bitsOf(valid), fixed ? NOTHING : u32s(listed)],
          outputs: [
            { before: head, expected: NOTHING, slack: head.length },
            { before: new Uint8Array(8192), expected: NOTHING, slack: 8192 },
            { before: u32s([0]), expected: u32s(ends) },
            { expected: kept, padding: 7 },
            { expected: NOTHING, slack: n * 4 },
          ],
          addresses: (view, at) => {
            for (const [word, output] of [
              [0, 5],
              [6, 6],
              [7, 7],
            ] as const)
              view.setUint32(at[4]! + word * 4, at[output]!, true)
          },
          call: (x, at) => x.group_bytes(fixed ? 0 : at[0]!, at[1]!, fixed ? 9 : 0, at[2]!, fixed ? 0 : at[3]!, 0, listed.length, at[4]!, at[8]!),
          result: stop,
          check: (memory, at) => checkNumbers(`group_bytes n=${n}`, memory, at[8]!, numbers),
        }
      }
    }
  },
  *group_rehash_words(n, random) {
    // Numbers in new slots are found again: each word's row numbers as before.
    const words = Array.from({ length: n }, () => BigInt(random.below(50)) * 0x9e37_79b9n)
    const valid = booleans(random, n, 0.9)
    const listed = words.map((_, i) => i)
    const { numbers, order } = numbered(
      words.map((word, i) => (valid[i] ? String(word) : undefined)),
      listed,
      512,
    )
    const head = u32s([0, 2047, 0, order.length, 512, order.indexOf(undefined) + 1, 0, 0, 0, 0, 0])
    yield {
      inputs: [u64s(words), bitsOf(valid), u64s(order.map((key) => BigInt(key ?? 0)))],
      outputs: [
        { before: head, expected: NOTHING, slack: head.length },
        { before: new Uint8Array(8192), expected: NOTHING, slack: 8192 },
        { expected: u32s(listed.map((row) => numbers.get(row)!)) },
      ],
      addresses: (view, at) => {
        view.setUint32(at[3]!, at[4]!, true)
        view.setUint32(at[3]! + 24, at[2]!, true)
      },
      call: (x, at) => {
        x.group_rehash_words(at[3]!)
        return x.group_words(at[0]!, at[1]!, 0, 0, n, at[3]!, at[5]!)
      },
      result: n,
    }
  },
  *group_rehash_bytes(n, random) {
    const old = Array.from({ length: 64 }, (_, i) => (i < n % 33 ? (BigInt(random.u32()) << 32n) | BigInt(i + 1) : 0n)).toSorted(() => random.below(3) - 1)
    const head = u32s([0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    yield {
      inputs: [u64s(old)],
      outputs: [
        { before: head, expected: NOTHING, slack: head.length },
        { before: new Uint8Array(2048), expected: NOTHING, slack: 2048 },
      ],
      addresses: (view, at) => view.setUint32(at[1]!, at[2]!, true),
      call: (x, at) => x.group_rehash_bytes(at[1]!, at[0]!, 63),
      check: (memory, at) => {
        const slots = Array.from({ length: 256 }, (_, i) => memory.getBigUint64(at[2]! + i * 8, true))
        const kept = slots.filter((slot) => slot !== 0n)
        if (kept.length !== old.filter((slot) => slot !== 0n).length || kept.some((slot) => !old.includes(slot)))
          throw new Error(`group_rehash_bytes n=${n}: other slots`)
        // Every slot between a value's own and the one where it lies is taken.
        for (const [i, slot] of slots.entries())
          for (let at2 = Number(slot >> 32n) & 255; slot !== 0n && at2 !== i; at2 = (at2 + 1) & 255)
            if (slots[at2] === 0n) throw new Error(`group_rehash_bytes n=${n}: ${i} is not found`)
      },
    }
  },
  *group_new_codes(n, random) {
    for (const width of [1, 2, 4]) {
      for (const nulls of [0, 1]) {
        for (const { listed, rows, hasRows } of ways(n, random)) {
          const codes = Array.from({ length: n }, () => random.below(32))
          const valid = booleans(random, n, 0.9)
          const known = Array.from({ length: 30 }, (_, i) => (i % 7 === 0 ? i + 1 : 0))
          const marked = known.slice()
          const fresh: number[] = []
          for (const row of listed) {
            const code = valid[row] && codes[row]! < 30 ? codes[row]! : NULL_INDEX
            if (code === NULL_INDEX ? nulls === 0 && !fresh.includes(code) : marked[code] === 0) fresh.push(code)
            if (code !== NULL_INDEX && marked[code] === 0) marked[code] = 1
          }
          const outputs = [{ before: u32s(known), expected: u32s(marked) }, { expected: u32s(fresh) }]
          const call: Case['call'] = (x, at) => x.group_new_codes(at[0]!, width, at[1]!, hasRows ? at[2]! : 0, listed.length, at[3]!, 30, nulls, at[4]!)
          yield { inputs: [integerBytes(codes.map(BigInt), width), bitsOf(valid), rows], outputs, call, result: fresh.length }
        }
      }
    }
  },
  *group_map_codes(n, random) {
    const codes = Array.from({ length: n }, () => (random.chance(0.1) ? NULL_INDEX : random.below(40)))
    const numbers = codes.map(() => random.below(1000))
    const before = Array.from({ length: 40 }, () => 7)
    const after = before.slice()
    for (const [i, code] of codes.entries()) if (code !== NULL_INDEX) after[code] = numbers[i]! + 1
    yield {
      inputs: [u32s(codes), u32s(numbers)],
      outputs: [{ before: u32s(before), expected: u32s(after) }],
      call: (x, at) => x.group_map_codes(at[0]!, at[1]!, n, at[2]!),
    }
  },
  *group_codes(n, random) {
    for (const width of [1, 2, 4]) {
      const codes = Array.from({ length: n }, () => random.below(32))
      const valid = booleans(random, n, 0.9)
      const map = Array.from({ length: 30 }, () => 1 + random.below(100))
      const expected = u32s(codes.map((code, i) => (valid[i] && code < 30 ? map[code]! - 1 : 99)))
      const call: Case['call'] = (x, at) => x.group_codes(at[0]!, width, at[1]!, n, at[2]!, 30, 99, at[3]!)
      yield { inputs: [integerBytes(codes.map(BigInt), width), bitsOf(valid), u32s(map)], outputs: [{ expected }], call }
    }
  },
  *group_pairs(n, random) {
    for (const shift of [1, 9, 32]) {
      const first = Array.from({ length: n }, () => random.u32())
      const second = Array.from({ length: n }, () => (shift === 32 ? random.u32() : random.below(2 ** shift)))
      const expected = u64s(first.map((value, i) => (BigInt(value) << BigInt(shift)) | BigInt(second[i]!)))
      yield { inputs: [u32s(first), u32s(second)], outputs: [{ expected }], call: (x, at) => x.group_pairs(at[0]!, at[1]!, shift, n, at[2]!) }
    }
  },
  *group_widen(n, random) {
    for (const mode of [0, 1, 2, 3]) {
      for (const [kind, width] of [1, 2, 4, 8, 1, 2, 4, 8].entries()) {
        const p = rowsOf(random, n, width)
        const flip = mode === 2 ? -1n : 0n
        const sign = kind === 7 && (mode === 1 || mode === 2) ? 1n << 63n : 0n
        const expected = u64s(integers(p, width, kind < 4).map((value) => value ^ flip ^ sign))
        yield { inputs: [p], outputs: [{ expected }], call: (x, at) => x.group_widen(at[0]!, kind, mode, n, at[1]!) }
      }
      const bits = bytesOf(random, Math.ceil(n / 8))
      const expected = u64s(Array.from({ length: n }, (_, i) => BigInt(bitAt(bits, i)) ^ (mode === 2 ? -1n : 0n)))
      yield { inputs: [bits], outputs: [{ expected }], call: (x, at) => x.group_widen(at[0]!, 10, mode, n, at[1]!) }
      for (const width of [4, 8]) {
        const values = Array.from({ length: n }, () => [0, -0, 1.5, -2, Infinity, NaN][random.below(mode === 3 ? 6 : 5)]!)
        const p = width === 4 ? new Uint8Array(Float32Array.from(values).buffer) : f64s(values)
        const words = new Uint8Array(f64s(values.map((value) => (mode === 2 ? -value : mode === 3 && value === 0 ? 0 : value))))
        yield { inputs: [p], outputs: [{ expected: words }], call: (x, at) => x.group_widen(at[0]!, width === 4 ? 8 : 9, mode, n, at[1]!) }
      }
    }
  },

  *group_count(n, random) {
    for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
      const before = u64s(Array.from({ length: GROUPS }, (_, i) => BigInt(i) << 31n))
      const expected = u64s(byGroup(listed, groups, () => 1).map((ones, i) => (BigInt(i) << 31n) + BigInt(ones.length)))
      const call: Case['call'] = (x, at) => x.group_count(hasGroups ? at[0]! : 0, hasRows ? at[1]! : 0, listed.length, at[2]!)
      yield { inputs: [u32s(groups), rows], outputs: [{ before, expected }], call }
    }
  },
  *group_sum_words(n, random) {
    for (const signed of [0, 1]) {
      for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
        const p = rowsOf(random, n, 8)
        const values = integers(p, 8, signed === 1)
        const sums = byGroup(listed, groups, (row) => values[row]!).map((list) => list.reduce((a, b) => a + b, 0n))
        const outputs = [{ before: new Uint8Array(GROUPS * 16), expected: integerBytes(sums, 16) }]
        const call: Case['call'] = (x, at) => x.group_sum_words(at[0]!, signed, hasGroups ? at[1]! : 0, hasRows ? at[2]! : 0, listed.length, at[3]!)
        yield { inputs: [p, u32s(groups), rows], outputs, call }
      }
    }
  },
  *group_sum_128(n, random) {
    for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
      const p = rowsOf(random, n, 16)
      const values = integers(p, 16, true)
      const sums = byGroup(listed, groups, (row) => values[row]!).map((list) => list.reduce((a, b) => a + b, 0n))
      const outputs = [{ before: new Uint8Array(GROUPS * 24), expected: integerBytes(sums, 24) }]
      const call: Case['call'] = (x, at) => x.group_sum_128(at[0]!, hasGroups ? at[1]! : 0, hasRows ? at[2]! : 0, listed.length, at[3]!)
      yield { inputs: [p, u32s(groups), rows], outputs, call }
    }
  },
  *group_sum_floats(n, random) {
    for (const room of [GROUPS, 0]) {
      for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
        const values = someFloats(n, random)
        const sums = Array.from({ length: GROUPS }, () => new RunSum())
        let stop = listed.length
        for (const [place, row] of listed.entries()) {
          const sum = sums[groups[row]!]!
          if (room === 0 && sum.count === 127) {
            stop = place
            break
          }
          sum.add(values[row]!)
        }
        yield {
          inputs: [f64s(values), u32s(groups), rows],
          outputs: [
            { before: new Uint8Array(GROUPS * 16), expected: NOTHING, slack: GROUPS * 16 },
            { before: u32s([0, 0, room]), expected: NOTHING, slack: 12 },
            { expected: NOTHING, slack: room * BLOCK },
          ],
          addresses: (view, at) => view.setUint32(at[4]!, at[5]!, true),
          call: (x, at) => x.group_sum_floats(at[0]!, hasGroups ? at[1]! : 0, hasRows ? at[2]! : 0, 0, listed.length, at[3]!, at[4]!),
          result: stop,
          check: (memory, at) => {
            for (const [group, sum] of sums.entries()) {
              const state = at[3]! + group * 16
              const block = memory.getUint32(state + 12, true)
              const good =
                memory.getFloat64(state, true) === sum.run &&
                memory.getUint32(state + 8, true) === sum.count &&
                (block === 0 ? sum.full === 0 : sum.holds(memory, at[5]! + (block - 1) * BLOCK))
              if (!good) throw new Error(`group_sum_floats n=${n}: group ${group}`)
            }
          },
        }
      }
    }
  },
  *sum_runs(n, random) {
    for (const length of [n, n * 9]) {
      const values = someFloats(length, random)
      const sum = new RunSum()
      for (const value of values) sum.add(value)
      // In two calls, the second from the middle of a run.
      const cut = random.below(length + 1)
      yield {
        inputs: [f64s(values)],
        outputs: [{ before: new Uint8Array(16 + BLOCK), expected: NOTHING, slack: 16 + BLOCK }],
        call: (x, at) => {
          x.sum_runs(at[0]!, cut, at[1]!)
          x.sum_runs(at[0]! + cut * 8, length - cut, at[1]!)
          return x.sum_of_runs(at[1]!, at[1]! + 16)
        },
        result: sum.total,
        check: (memory, at) => {
          if (memory.getFloat64(at[1]!, true) !== sum.run || memory.getUint32(at[1]! + 8, true) !== sum.count || !sum.holds(memory, at[1]! + 16))
            throw new Error(`sum_runs n=${length}`)
        },
      }
    }
  },
  *sum_of_runs(n, random) {
    const [run, sums] = [random.below(100) / 7, someFloats(9, random)]
    let total = run
    for (const [level, sum] of sums.entries()) if ((n >> level) & 1) total = sum + total
    const block = new Uint8Array(Buffer.concat([u64s([BigInt(n)]), f64s(sums)]))
    yield { inputs: [f64s([run]), block], outputs: [], call: (x, at) => x.sum_of_runs(at[0]!, at[1]!), result: total }
    yield { inputs: [f64s([run])], outputs: [], call: (x, at) => x.sum_of_runs(at[0]!, 0), result: run }
  },
  *group_float_sums(n, random) {
    const runs = someFloats(n, random)
    const blocks = runs.map((_, group) => (group % 3 === 0 ? 0 : 1 + (group % 2)))
    const sums = someFloats(2, random)
    const states = new Uint8Array(Buffer.concat(runs.map((run, group) => Buffer.concat([f64s([run]), u32s([0, blocks[group]!])]))))
    const pool = new Uint8Array(2 * BLOCK)
    for (const block of [0, 1]) pool.set(Buffer.concat([u64s([1n]), f64s([sums[block]!])]), block * BLOCK)
    const expected = f64s(runs.map((run, group) => (blocks[group] === 0 ? run : sums[blocks[group]! - 1]! + run)))
    yield { inputs: [states, pool], outputs: [{ expected }], call: (x, at) => x.group_float_sums(at[0]!, at[1]!, n, at[2]!) }
  },
  *group_least(n, random) {
    for (const float of [0, 1]) {
      for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
        const values = Array.from({ length: n }, () => (float === 1 && random.chance(0.2) ? NaN : random.below(50) - 25))
        const words = float === 1 ? f64s(values) : u64s(values.map(BigInt))
        const least = byGroup(listed, groups, (row) => values[row]!).map((list) =>
          list.filter((value) => !Number.isNaN(value)).reduce<number | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined),
        )
        const expected = new Uint8Array(
          Buffer.concat(
            least.map((value) => Buffer.concat([float === 1 ? f64s([value ?? 0]) : u64s([BigInt(value ?? 0)]), u64s([value === undefined ? 0n : 1n])])),
          ),
        )
        const call: Case['call'] = (x, at) => x.group_least(at[0]!, float, hasGroups ? at[1]! : 0, hasRows ? at[2]! : 0, listed.length, at[3]!)
        yield { inputs: [words, u32s(groups), rows], outputs: [{ before: new Uint8Array(GROUPS * 16), expected }], call }
      }
    }
  },
  *group_extreme_128(n, random) {
    for (const most of [0, 1]) {
      for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
        const p = rowsOf(random, n, 16)
        const values = integers(p, 16, true)
        const best = byGroup(listed, groups, (row) => values[row]!).map((list) =>
          list.reduce<bigint | undefined>((a, b) => (a === undefined || (most === 1 ? b > a : b < a) ? b : a), undefined),
        )
        const expected = new Uint8Array(
          Buffer.concat(best.map((value) => Buffer.concat([integerBytes([value ?? 0n], 16), u64s([value === undefined ? 0n : 1n, 0n])]))),
        )
        const call: Case['call'] = (x, at) => x.group_extreme_128(at[0]!, most, hasGroups ? at[1]! : 0, hasRows ? at[2]! : 0, listed.length, at[3]!)
        yield { inputs: [p, u32s(groups), rows], outputs: [{ before: new Uint8Array(GROUPS * 32), expected }], call }
      }
    }
  },
  *group_extreme_bytes(n, random) {
    for (const shape of ['texts', 'fixed', 'codes'] as const) {
      for (const most of [0, 1]) {
        for (const { listed, rows, hasRows, groups, hasGroups } of ways(n, random)) {
          const made = randomStrings(shape === 'codes' ? 20 : n, random)
          const data = shape === 'fixed' ? rowsOf(random, n, 5) : made.data
          const codes = Array.from({ length: n }, () => random.below(22))
          const cell = (row: number): Uint8Array | undefined =>
            shape === 'fixed' ? data.subarray(row * 5, row * 5 + 5) : made.rows[shape === 'codes' ? codes[row]! : row]
          const best = byGroup(listed, groups, cell).map((list) =>
            list.reduce(
              (a, b) => (b === undefined || (a !== undefined && (most === 1 ? compareBytes(b, a) <= 0 : compareBytes(b, a) >= 0)) ? a : b),
              undefined,
            ),
          )
          const capacity = 1 << 15
          const outputs: Output[] = [
            { before: new Uint8Array(GROUPS * 16), expected: NOTHING, slack: GROUPS * 16 },
            { before: u32s([0, 0, capacity]), expected: NOTHING, slack: 12 },
            { expected: NOTHING, slack: capacity, padding: 7 },
          ]
          yield {
            inputs: [shape === 'fixed' ? NOTHING : made.offsets, data, Uint8Array.from(codes), u32s(groups), rows],
            outputs,
            addresses: (view, at) => view.setUint32(at[6]!, at[7]!, true),
            call: (x, at) =>
              x.group_extreme_bytes(
                ...([
                  shape === 'fixed' ? 0 : at[0]!,
                  at[1]!,
                  shape === 'fixed' ? 5 : shape === 'codes' ? 20 : 0,
                  shape === 'codes' ? at[2]! : 0,
                  1,
                  most,
                ] as const),
                ...([hasGroups ? at[3]! : 0, hasRows ? at[4]! : 0, 0, listed.length, at[5]!, at[6]!] as const),
              ),
            result: listed.length,
            check: (memory, at) => {
              for (const [group, row] of best.entries()) {
                const [start, length, , seen] = [0, 4, 8, 12].map((word) => memory.getUint32(at[5]! + group * 16 + word, true)) as [
                  number,
                  number,
                  number,
                  number,
                ]
                const kept = new Uint8Array(memory.buffer, at[7]! + start, length)
                if (seen !== (row === undefined ? 0 : 1) || (row !== undefined && compareBytes(kept, row) !== 0))
                  throw new Error(`group_extreme_bytes n=${n} ${shape}: group ${group}`)
              }
            },
          }
        }
      }
    }
  },
}
