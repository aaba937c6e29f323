// proof/sort-merge.ts: cases of arrow-sort.ts, arrow-merge.ts and arrow-pair.ts.
import { integers, rowsOf } from './concat-predicate.ts'
import { ALL, bitAt, bitsOf, booleans, bytesOf, compareBytes, prefixOf, type Proofs, type Random, randomStrings, stringsOf, u32s, u64s } from './harness.ts'
import type { Case, Output } from './harness.ts'

const NOTHING = new Uint8Array(0)
const SIGN = 1n << 63n

const order = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)

/** Keys with ties, and with digits that vary everywhere or nowhere. */
function keysOf(n: number, random: Random, shape: number): bigint[] {
  const wide = (): bigint => (BigInt(random.u32()) << 32n) | BigInt(random.u32())
  const of = [() => BigInt(random.below(5)), wide, () => 7n, () => wide() & 0xff00ff00n, () => ALL - BigInt(random.below(3))][shape % 5]!
  return Array.from({ length: n }, of)
}

function shuffled(n: number, random: Random): number[] {
  const rows = Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[rows[i], rows[j]] = [rows[j]!, rows[i]!]
  }
  return rows
}

/** Rows whose bytes share their first eight with others, and differ behind, or in length. */
function tiedStrings(n: number, random: Random): ReturnType<typeof stringsOf> {
  const heads = ['', '\0', '\0\0', 'abcdefg', 'abcdefgh', 'abcdefgi']
  const rows = Array.from({ length: n }, () => {
    const tail = random.chance(0.5) ? '' : String.fromCharCode(...Array.from({ length: random.below(random.chance(0.2) ? 30 : 4) }, () => random.below(3)))
    return new Uint8Array(Buffer.from(heads[random.below(heads.length)]! + tail, 'latin1'))
  })
  return stringsOf(rows, random.below(3), random)
}

/** The same, all of which begin with the same bytes. */
function alike(n: number, shared: number, random: Random): ReturnType<typeof stringsOf> {
  const head = bytesOf(random, shared)
  return stringsOf(
    tiedStrings(n, random).rows.map((row) => new Uint8Array([...head, ...row])),
    random.below(3),
    random,
  )
}

/** Rows in ascending order, stable. */
function ascending<T>(rows: readonly T[], compare: (a: T, b: T) => number): number[] {
  return rows.map((_, i) => i).toSorted((a, b) => compare(rows[a]!, rows[b]!))
}

/** Total order of IEEE 754 with -0 as +0; NaN above all, in both directions. */
function floatKey(bits: bigint, width: number, desc: boolean): bigint {
  const view = new DataView(new ArrayBuffer(8))
  if (width === 4) view.setUint32(0, Number(bits))
  else view.setBigUint64(0, bits)
  const value = width === 4 ? view.getFloat32(0) : view.getFloat64(0)
  const top = (1n << BigInt(width * 8)) - 1n
  const sign = 1n << BigInt(width * 8 - 1)
  if (Number.isNaN(value)) return top
  const key = value === 0 ? sign : value < 0 ? top - bits : bits + sign
  return desc ? top - key : key
}

const KINDS = [
  [1, true],
  [2, true],
  [4, true],
  [8, true],
  [1, false],
  [2, false],
  [4, false],
  [8, false],
  [4, 'float'],
  [8, 'float'],
] as const

export const SORT_MERGE: Proofs = {
  *sort_keys_fixed(n, random) {
    for (const desc of [0, 1]) {
      for (const [kind, [width, signed]] of KINDS.entries()) {
        for (const stride of [width, width + 5]) {
          const p = rowsOf(random, n, stride)
          const cells = new Uint8Array(n * width)
          for (let i = 0; i < n; i++) cells.set(p.subarray(i * stride, i * stride + width), i * width)
          if (signed === 'float' && stride === width) {
            for (let i = 0; i < n; i++)
              if (random.chance(0.2))
                cells.set([0, 0, ...(width === 4 ? [] : [0, 0, 0, 0]), [0xf8, 0x80, 0][random.below(3)]!, [0x7f, 0xff][random.below(2)]!], i * width)
            p.set(cells)
          }
          const keys = integers(cells, width, signed === true).map((value) =>
            signed === 'float' ? floatKey(value, width, desc === 1) : (signed ? value + SIGN : value) ^ (desc === 1 ? ALL : 0n),
          )
          yield { inputs: [p], outputs: [{ expected: u64s(keys) }], call: (x, at) => x.sort_keys_fixed(at[0]!, kind, stride, n, desc, at[1]!) }
        }
      }
      const bits = bytesOf(random, Math.ceil(n / 8))
      const keys = Array.from({ length: n }, (_, i) => BigInt(bitAt(bits, i) ^ desc))
      yield { inputs: [bits], outputs: [{ expected: u64s(keys) }], call: (x, at) => x.sort_keys_fixed(at[0]!, 10, 0, n, desc, at[1]!) }
    }
  },
  *sort_keys_bytes(n, random) {
    for (const desc of [0, 1]) {
      const flip = desc === 1 ? ALL : 0n
      const { rows, offsets, data } = randomStrings(n, random, 12)
      const keys = rows.map((row) => prefixOf(row) ^ flip)
      yield { inputs: [offsets, data], outputs: [{ expected: u64s(keys) }], call: (x, at) => x.sort_keys_bytes(at[0]!, at[1]!, 0, 0, n, desc, at[2]!) }
      // Fixed width: the part of each row that is `length` bytes long from p on.
      for (const [stride, from, length] of [
        [3, 0, 3],
        [20, 8, 12],
        [20, 16, 4],
        [8, 0, 8],
      ] as const) {
        const p = bytesOf(random, n * stride)
        const part = Array.from({ length: n }, (_, i) => prefixOf(p.subarray(i * stride + from, i * stride + from + length)) ^ flip)
        yield { inputs: [p], outputs: [{ expected: u64s(part) }], call: (x, at) => x.sort_keys_bytes(0, at[0]! + from, stride, length, n, desc, at[1]!) }
      }
    }
  },
  *sort_keys_codes(n, random) {
    const ranks = Array.from({ length: 40 }, () => random.below(40))
    for (const width of [1, 2, 4]) {
      for (const desc of [0, 1]) {
        const codes = Array.from({ length: n }, () => (random.chance(0.1) ? 40 + random.below(3) : random.below(40)))
        const src = new Uint8Array(n * width)
        for (const [i, code] of codes.entries()) src[i * width] = code
        const expected = u64s(codes.map((code) => BigInt(ranks[code] ?? 0) ^ (desc === 1 ? ALL : 0n)))
        yield { inputs: [src, u32s(ranks)], outputs: [{ expected }], call: (x, at) => x.sort_keys_codes(at[0]!, width, n, at[1]!, 40, desc, at[2]!) }
      }
    }
  },
  *sort_pass(n, random) {
    for (let shape = 0; shape < 6; shape++) {
      const keys = shape === 5 ? keysOf(n, random, 1).toSorted(order) : keysOf(n, random, shape)
      for (const nulls of [false, true]) {
        const valid = booleans(random, n, nulls ? 0.7 : 1)
        const perm = shape === 5 ? keys.map((_, i) => i) : shuffled(n, random)
        const chosen = perm.filter((row) => valid[row])
        const inOrder = chosen.toSorted((a, b) => order(keys[a]!, keys[b]!))
        const wasSorted = chosen.every((row, i) => i === 0 || keys[chosen[i - 1]!]! <= keys[row]!)
        const least = wasSorted ? 0n : keys[inOrder[0]!]!
        const sortedKeys = u64s(inOrder.map((row) => keys[row]! - least))
        const outputs = [{ expected: u32s([...inOrder, ...perm.filter((row) => !valid[row])]) }, { expected: sortedKeys, slack: n * 20 - sortedKeys.length }]
        const call: Case['call'] = (x, at) => x.sort_pass(at[0]!, nulls ? at[1]! : 0, at[2]!, n, at[3]!, at[4]!)
        yield { inputs: [u64s(keys), bitsOf(valid), u32s(perm)], outputs, call, result: chosen.length }
      }
    }
  },
  *sort_ties(n, random) {
    for (const desc of [0, 1]) {
      const { rows, offsets, data } = tiedStrings(n, random)
      const perm = shuffled(n, random)
      const flip = desc === 1 ? ALL : 0n
      const keyOf = (row: number): bigint => prefixOf(rows[row]!) ^ flip
      const before = perm.toSorted((a, b) => order(keyOf(a), keyOf(b)))
      const whole = perm.toSorted((a, b) => order(keyOf(a), keyOf(b)) || (desc === 1 ? -1 : 1) * compareBytes(rows[a]!, rows[b]!))
      const outputs: Output[] = [
        { expected: u32s(whole), before: u32s(before) },
        { expected: NOTHING, slack: n * 4 },
      ]
      const call: Case['call'] = (x, at) => x.sort_ties(at[0]!, at[1]!, at[2]!, n, at[3]!, at[4]!, desc)
      yield { inputs: [offsets, data, u64s(before.map(keyOf))], outputs, call }
    }
  },
  *sort_ranks(n, random) {
    const { rows, offsets, data } = tiedStrings(n, random)
    const idx = ascending(rows, compareBytes)
    const ranks: number[] = []
    let rank = -1
    for (const [i, row] of idx.entries()) {
      if (i === 0 || compareBytes(rows[idx[i - 1]!]!, rows[row]!) !== 0) rank++
      ranks[row] = rank
    }
    yield { inputs: [offsets, data, u32s(idx)], outputs: [{ expected: u32s(ranks) }], call: (x, at) => x.sort_ranks(at[0]!, at[1]!, at[2]!, n, at[3]!) }
  },
  *adjacent_keys(n, random) {
    for (let shape = 0; shape < 3; shape++) {
      const keys = keysOf(n, random, shape)
      const { valid, before, expected } = signsOf(n, random, shape > 0, (a, b) => order(keys[a]!, keys[b]!))
      const call: Case['call'] = (x, at) => x.adjacent_keys(at[0]!, shape > 0 ? at[1]! : 0, n, at[2]!)
      yield { inputs: [u64s(keys), bitsOf(valid)], outputs: [{ expected, before }], call }
    }
  },
  *adjacent_bytes(n, random) {
    for (const nulls of [false, true]) {
      const { rows, offsets, data } = tiedStrings(n, random)
      const { valid, before, expected } = signsOf(n, random, nulls, (a, b) => compareBytes(rows[a]!, rows[b]!))
      const call: Case['call'] = (x, at) => x.adjacent_bytes(at[0]!, at[1]!, nulls ? at[2]! : 0, n, at[3]!)
      yield { inputs: [offsets, data, bitsOf(valid)], outputs: [{ expected, before }], call }
    }
  },
  *first_descent(n, random) {
    for (const chance of [0, 0.02, 0.3]) {
      const signs = Array.from({ length: n }, (_, i) => (i > 0 && random.chance(chance) ? [0, 1][random.below(2)]! : -1))
      const at = signs.findIndex((sign, i) => i > 0 && sign > 0)
      const end = at < 0 ? n : at
      const strict = signs.slice(1, end).every((sign) => sign !== 0)
      const outputs = [{ expected: u32s([strict ? 1 : 0]) }]
      yield { inputs: [new Uint8Array(Int8Array.from(signs).buffer)], outputs, call: (x, to) => x.first_descent(to[0]!, n, to[1]!), result: end }
    }
  },
  *row_numbers(n) {
    const expected = u32s(Array.from({ length: n }, (_, i) => 1_000_000 + i))
    yield { inputs: [], outputs: [{ expected }], call: (x, at) => x.row_numbers(at[0]!, 1_000_000, n) }
  },
  *least_keys(n, random) {
    for (const count of [1, 2, 10, 300]) {
      const keys = keysOf(n, random, random.below(5))
      const valid = booleans(random, n, count === 2 ? 1 : 0.8)
      const chosen = keys.filter((_, i) => valid[i]).toSorted(order)
      const kept = chosen.slice(0, count)
      const check: Case['check'] = (memory, at) => {
        const heap = kept.map((_, i) => memory.getBigUint64(at[2]! + i * 8, true))
        if (heap.length > 0 && heap[0] !== kept.at(-1)) throw new Error(`least_keys n=${n} count=${count}: the greatest is not at the root`)
        if (heap.toSorted(order).some((key, i) => key !== kept[i])) throw new Error(`least_keys n=${n} count=${count}: other keys`)
      }
      const call: Case['call'] = (x, at) => x.least_keys(at[0]!, count === 2 ? 0 : at[1]!, n, count, at[2]!)
      yield { inputs: [u64s(keys), bitsOf(valid)], outputs: [{ expected: NOTHING, slack: kept.length * 8 }], call, check, result: chosen.length }
    }
  },
  *rows_up_to(n, random) {
    for (const nulls of [false, true]) {
      const keys = keysOf(n, random, random.below(5))
      const valid = booleans(random, n, nulls ? 0.8 : 1)
      const limit = n > 0 && random.chance(0.8) ? keys[random.below(n)]! : [0n, ALL][random.below(2)]!
      const rows = keys.flatMap((key, i) => (valid[i] && key <= limit ? [i] : []))
      const outputs = [{ expected: u32s(rows), slack: rows.length < n ? 4 : 0 }]
      const call: Case['call'] = (x, at) => x.rows_up_to(at[0]!, nulls ? at[1]! : 0, n, at[2]!, at[3]!)
      yield { inputs: [u64s(keys), bitsOf(valid), u64s([limit])], outputs, call, result: rows.length }
    }
  },

  *keys_descent(n, random) {
    for (const shape of [0, 1, 2]) {
      const keys = keysOf(n, random, shape)
      if (random.chance(0.7)) keys.sort(order)
      const at = keys.findIndex((key, i) => i > 0 && key < keys[i - 1]!)
      yield { inputs: [u64s(keys)], outputs: [], call: (x, to) => x.keys_descent(to[0]!, n), result: at < 0 ? n : at }
    }
  },
  *keys_behind(n, random) {
    for (const shared of [0, 3, 8, 21]) {
      const made = alike(n, shared, random).rows
      const { rows, offsets, data } = stringsOf(random.chance(0.3) ? made : made.toSorted(compareBytes), random.below(3), random)
      const like = new Uint8Array(rows[0]?.subarray(0, shared) ?? [])
      const descent = rows.findIndex((row, i) => i > 0 && compareBytes(row, rows[i - 1]!) < 0)
      const written = descent < 0 ? n : descent
      const keys = u64s(rows.map((row) => prefixOf(row.subarray(shared))))
      const before = u64s(keysOf(n, random, 1))
      const until = (stop: number): Output => ({ expected: new Uint8Array([...keys.subarray(0, 8 * stop), ...before.subarray(8 * stop)]), before })
      const call: Case['call'] = (x, to) => x.keys_behind(to[0]!, to[1]!, to[2]!, shared, n, to[3]!)
      yield { inputs: [offsets, data, like], outputs: [until(written)], call, result: written }
      if (shared === 0 || n < 2) continue
      // A row that begins otherwise, in any of the shared bytes, or is too short.
      const at = 1 + random.below(n - 1)
      const place = random.below(shared)
      const spoilt = (row: Uint8Array): Uint8Array => (random.chance(0.5) ? row.subarray(0, place) : row.map((byte, i) => byte ^ Number(i === place)))
      const broken = stringsOf(
        rows.map((row, i) => new Uint8Array(i === at ? spoilt(row) : row)),
        2,
        random,
      )
      const stop = Math.min(at, written)
      yield { inputs: [broken.offsets, broken.data, like], outputs: [until(stop)], call, result: stop }
    }
  },
  *merge_keys(n, random) {
    for (let shape = 0; shape < 4; shape++) {
      for (const an of new Set([0, n >> 1, random.below(n + 1), n])) {
        const a = keysOf(an, random, shape).toSorted(order)
        const b = keysOf(n - an, random, shape).toSorted(order)
        const ai = shuffled(an, random)
        const bi = shuffled(n - an, random).map((row) => row + 5000)
        const both = [...a.map((key, i) => [key, ai[i]!] as const), ...b.map((key, i) => [key, bi[i]!] as const)]
        const merged = both.toSorted((x, y) => order(x[0], y[0]))
        const outputs = [{ expected: u64s(merged.map(([key]) => key)) }, { expected: u32s(merged.map(([, row]) => row)) }]
        const call: Case['call'] = (x, at) => x.merge_keys(0, 0, 0, at[0]!, at[1]!, an, at[2]!, at[3]!, n - an, at[4]!, at[5]!)
        yield { inputs: [u64s(a), u32s(ai), u64s(b), u32s(bi)], outputs, call }
      }
    }
    // Rows of a var column, whose ties their bytes decide.
    for (const shared of [0, 5]) {
      for (const an of new Set([0, n >> 1, random.below(n + 1), n])) {
        const { rows, offsets, data } = alike(n, shared, random)
        const byBytes = (x: number, y: number): number => compareBytes(rows[x]!, rows[y]!)
        const keysFor = (some: readonly number[]): Uint8Array => u64s(some.map((row) => prefixOf(rows[row]!.subarray(shared))))
        const all = shuffled(n, random)
        const a = all.slice(0, an).toSorted(byBytes)
        const b = all.slice(an).toSorted(byBytes)
        const merged = [...a, ...b].toSorted(byBytes)
        const call: Case['call'] = (x, at) => x.merge_keys(at[0]!, at[1]!, shared, at[2]!, at[3]!, an, at[4]!, at[5]!, n - an, at[6]!, at[7]!)
        const outputs = [{ expected: keysFor(merged) }, { expected: u32s(merged) }]
        yield { inputs: [offsets, data, keysFor(a), u32s(a), keysFor(b), u32s(b)], outputs, call }
      }
    }
  },
  *merge_pair(n, random) {
    for (let shape = 0; shape < 4; shape++) {
      for (const an of new Set([0, n >> 1, random.below(n + 1), n])) {
        for (const wanted of [false, true]) {
          // Rows lie anywhere in the column; some runs follow one another, or all of b comes first.
          const all = keysOf(n, random, shape).toSorted(order)
          const [a, b] = [
            [all.slice(0, an), all.slice(an)],
            [all.slice(n - an), all.slice(0, n - an)],
            [keysOf(an, random, shape).toSorted(order), keysOf(n - an, random, shape).toSorted(order)],
          ][random.below(3)] as [bigint[], bigint[]]
          const [first, gap] = [random.below(3), random.below(3)]
          const column = [...keysOf(first, random, 1), ...a, ...keysOf(gap, random, 1), ...b]
          const second = first + an + gap
          const rows = [...a.map((key, i) => [key, first + i] as const), ...b.map((key, i) => [key, second + i] as const)].toSorted((x, y) => order(x[0], y[0]))
          const inB = new Set(b)
          const places = rows.flatMap(([key, row], i) => (row < second && inB.has(key) ? [i] : []))
          const check: Case['check'] = (memory, at) => {
            if (!wanted) return
            const count = memory.getUint32(at[2]!, true)
            const noted = Array.from({ length: count }, (_, i) => (memory.getUint32(at[2]! + 4 + 4 * i, true) - at[1]!) / 4).toSorted((x, y) => x - y)
            if (noted.join() !== places.join()) throw new Error(`merge_pair n=${n} an=${an}: ties at ${noted.join()} instead of ${places.join()}`)
          }
          const call: Case['call'] = (x, at) => x.merge_pair(at[0]!, first, an, second, n - an, at[1]!, wanted ? at[2]! : 0)
          const outputs = [{ expected: u32s(rows.map(([, row]) => row)) }, { expected: NOTHING, slack: wanted ? 4 + 4 * an : 0 }]
          yield { inputs: [u64s(column)], outputs, call, check }
        }
      }
    }
  },
  *encode_measure(n, random) {
    for (const shape of ['keys', 'bytes', 'bytes with nulls', 'keys with nulls']) {
      const { rows, offsets, data } = randomStrings(n, random)
      const nulls = shape.endsWith('nulls')
      const valid = booleans(random, n, nulls ? 0.7 : 1)
      const start = rows.map(() => random.below(1000))
      const expected = u32s(
        rows.map(
          (row, i) => start[i]! + (shape.startsWith('keys') ? encodedKey(valid[i]! ? 1n : undefined) : encodedBytes(valid[i]! ? row : undefined)).length,
        ),
      )
      const call: Case['call'] = (x, at) => x.encode_measure(shape.startsWith('keys') ? 0 : at[0]!, at[1]!, nulls ? at[2]! : 0, n, at[3]!)
      yield { inputs: [offsets, data, bitsOf(valid)], outputs: [{ expected, before: u32s(start) }], call }
    }
  },
  *encode_keys(n, random) {
    for (const nulls of [false, true]) {
      const keys = keysOf(n, random, 1)
      const valid = booleans(random, n, nulls ? 0.7 : 1)
      const call: Case['call'] = (x, at) => x.encode_keys(at[0]!, nulls ? at[1]! : 0, n, at[2]!, at[3]!)
      yield { inputs: [u64s(keys), bitsOf(valid)], outputs: encoded(keys.map((key, i) => encodedKey(valid[i]! ? key : undefined))), call }
    }
  },
  *encode_bytes(n, random) {
    for (const nulls of [false, true]) {
      const { rows, offsets, data } = randomStrings(n, random)
      const valid = booleans(random, n, nulls ? 0.7 : 1)
      const call: Case['call'] = (x, at) => x.encode_bytes(at[0]!, at[1]!, nulls ? at[2]! : 0, n, at[3]!, at[4]!)
      yield { inputs: [offsets, data, bitsOf(valid)], outputs: encoded(rows.map((row, i) => encodedBytes(valid[i]! ? row : undefined))), call }
    }
  },
}

/** Neighbours' signs where none is known yet: nulls last. */
function signsOf(
  n: number,
  random: Random,
  nulls: boolean,
  compare: (a: number, b: number) => number,
): { valid: boolean[]; before: Uint8Array; expected: Uint8Array } {
  const valid = booleans(random, n, nulls ? 0.6 : 1)
  const known = Array.from({ length: n }, (_, i) => (i === 0 || random.chance(0.6) ? 0 : [-1, 1][random.below(2)]!))
  const signs = known.map((sign, i) => {
    if (i === 0 || sign !== 0) return sign
    if (valid[i - 1] && valid[i]) return compare(i - 1, i)
    return valid[i - 1] === valid[i] ? 0 : valid[i - 1] ? -1 : 1
  })
  const bytes = (values: readonly number[]): Uint8Array => new Uint8Array(Int8Array.from(values).buffer)
  return { valid, before: bytes(known), expected: bytes(signs) }
}

function encodedKey(key: bigint | undefined): number[] {
  if (key === undefined) return [1]
  return [0, ...Array.from({ length: 8 }, (_, i) => Number((key >> BigInt(56 - 8 * i)) & 255n))]
}

function encodedBytes(row: Uint8Array | undefined): number[] {
  if (row === undefined) return [1]
  return [0, ...[...row].flatMap((byte) => (byte === 0 ? [0, 255] : [byte])), 0, 0]
}

/** Cursors before and after, and the rows' bytes back to back. */
function encoded(rows: readonly (readonly number[])[]): Output[] {
  const ends = [0]
  for (const row of rows) ends.push(ends.at(-1)! + row.length)
  return [{ before: u32s(ends.slice(0, -1)), expected: u32s(ends.slice(1)) }, { expected: Uint8Array.from(rows.flat()) }]
}
