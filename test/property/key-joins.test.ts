// Large writes against a Map, for keys of every kind: which older rows an upsert replaces and which keys an append must not meet is found for whole batches,
// among rows in memory, in fragments sorted by their key, and in fragments that are not.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { DuplicateKeyError, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

interface Kind {
  readonly name: string
  readonly columns: Record<string, any>
  readonly keyOf: (n: number) => Record<string, unknown>
}

const text = (n: number): string => `customer/${'0'.repeat(n % 5)}${n}`
const KINDS: readonly Kind[] = [
  { name: 'int64', columns: { a: t.int64() }, keyOf: (n) => ({ a: BigInt(n - 200) * 3_000_000_000n }) },
  { name: 'uint64', columns: { a: t.uint64() }, keyOf: (n) => ({ a: 2n ** 63n - 200n + BigInt(n) }) },
  { name: 'int32', columns: { a: t.int32() }, keyOf: (n) => ({ a: (n - 200) * 5_000_000 }) },
  { name: 'float64', columns: { a: t.float64() }, keyOf: (n) => ({ a: n / 8 - 20 }) },
  { name: 'utf8', columns: { a: t.utf8() }, keyOf: (n) => ({ a: text(n) }) },
  { name: 'timestamp', columns: { a: t.timestamp('ms') }, keyOf: (n) => ({ a: new Date(1_700_000_000_000 + n * 1000) }) },
  { name: 'utf8 and int32', columns: { a: t.utf8(), b: t.int32() }, keyOf: (n) => ({ a: text(n >> 3), b: (n & 7) - 4 }) },
  {
    name: 'int64, bool and utf8',
    columns: { a: t.int64(), b: t.bool(), c: t.utf8() },
    keyOf: (n) => ({ a: BigInt(n >> 4), b: (n & 1) === 1, c: text((n >> 1) & 7) }),
  },
]

interface Step {
  readonly op: 'upsert' | 'append' | 'delete' | 'reopen'
  readonly first: number
  readonly count: number
  /** 1 = in key order, else scattered. */
  readonly stride: number
}

const KEYS = 400
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    op: fc.constantFrom('upsert' as const, 'upsert' as const, 'append' as const, 'delete' as const, 'reopen' as const),
    first: fc.nat(KEYS - 1),
    count: fc.constantFrom(1, 7, 40, 150, 300),
    stride: fc.constantFrom(1, 1, 7, 399),
  }),
  { minLength: 2, maxLength: 12 },
)

async function run(kind: Kind, script: readonly Step[], inlineLimitBytes: number): Promise<void> {
  const key = Object.keys(kind.columns)
  const rows: any = table('rows', { ...kind.columns, value: t.int32() }, { key: key as any })
  const root = new MemoryRoot()
  const options = { inlineLimitBytes, upkeep: 'manual' as const }
  let store = await Store.open(root, options)
  await store.create(rows)
  const model = new Map<number, number>()
  let value = 0
  for (const { op, first, count, stride } of script) {
    const numbers = Array.from({ length: count }, (_, i) => (first + i * stride) % KEYS)
    if (op === 'reopen') {
      await store.close()
      store = await Store.open(root, options)
    } else if (op === 'delete') {
      await store.delete(rows, numbers.map((n) => (key.length === 1 ? kind.keyOf(n)[key[0]!] : kind.keyOf(n))) as any)
      for (const n of numbers) model.delete(n)
    } else {
      const given = numbers.map((n) => ({ ...kind.keyOf(n), value: value++ }))
      const seen = new Set<number>()
      const again = numbers.findIndex((n) => seen.size === seen.add(n).size)
      const older = numbers.findIndex((n) => model.has(n))
      const write = op === 'append' ? store.append(rows, given as any) : store.upsert(rows, given as any)
      if (op === 'append' && (again >= 0 || older >= 0)) {
        const error = await write.then(
          () => undefined,
          (thrown: unknown) => thrown,
        )
        expect(error).toBeInstanceOf(DuplicateKeyError)
        // A key twice in one call is told first.
        expect((error as DuplicateKeyError).rows.at(-1)).toBe(again >= 0 ? again : older)
      } else {
        const result = await write
        expect(result.rows).toBe(new Set(numbers).size)
        numbers.forEach((n, i) => model.set(n, given[i]!.value))
      }
    }
    const stored = await store.scan(rows).toArray()
    const expected = [...model].map(([n, of]) => ({ ...kind.keyOf(n), value: of }))
    const byValue = (a: any, b: any): number => a.value - b.value
    expect((stored as any[]).toSorted(byValue)).toEqual(expected.toSorted(byValue))
  }
  await store.close()
}

describe('large writes', () => {
  for (const kind of KINDS) {
    it(`hide and refuse what a Map says, keyed by ${kind.name}`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, fc.constantFrom(0, 600), (script, limit) => run(kind, script, limit)),
        { numRuns: 12 },
      )
    })
  }
})
