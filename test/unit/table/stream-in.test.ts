import { Readable } from 'node:stream'
import * as arrow from 'apache-arrow'
import { describe, expect, it } from 'vitest'
import { NullKeyError, SchemaMismatchError } from '../../../bindings/errors.ts'
import type { ColumnBatch } from '../../../bindings/table/batch.ts'
import { t } from '../../../bindings/table/columns.ts'
import { columns } from '../../../bindings/table/column-data.ts'
import { table } from '../../../bindings/table/definition.ts'
import { rowReader } from '../../../bindings/table/rows-out.ts'
import { isAsyncBatches, toBatches, type ToBatchesOptions } from '../../../bindings/table/stream-in.ts'
import { viewOf } from './every-type.ts'

const view = viewOf(
  table('seats', { flight: t.int64(), row: t.int16(), taken: t.bool().default(false), holder: t.utf8().nullable() }, { key: ['flight', 'row'] }),
)
const read = rowReader(view.columns)
const seat = (n: number): { flight: bigint; row: number } => ({ flight: BigInt(n), row: n })
const flat = (batch: ColumnBatch): unknown[] => Array.from({ length: batch.length }, (_, i) => read(batch.columns, i)['row'])
const numbers = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i)

async function rowNumbers(data: unknown, o: ToBatchesOptions = {}): Promise<unknown[]> {
  const rows: unknown[] = []
  for await (const batch of toBatches(view, data, o)) rows.push(...flat(batch))
  return rows
}

const table3 = arrow.tableFromArrays({ flight: BigInt64Array.of(4n, 5n, 6n), row: Int16Array.of(4, 5, 6) })

describe('inputs', () => {
  const each: readonly (readonly [string, () => unknown, readonly number[], boolean])[] = [
    ['one row', () => seat(1), [1], false],
    ['rows', () => [seat(1), seat(2)], [1, 2], false],
    ['no rows', () => [], [], false],
    ['columns', () => columns({ flight: [1n, 2n], row: Int16Array.of(1, 2) }), [1, 2], false],
    ['no columns', () => columns({}), [], false],
    ['an Arrow table', () => table3, [4, 5, 6], false],
    ['an Arrow batch', () => table3.batches[0], [4, 5, 6], false],
    ['IPC bytes', () => arrow.tableToIPC(table3), [4, 5, 6], true],
    ['an IPC file', () => arrow.tableToIPC(table3, 'file'), [4, 5, 6], true],
    [
      'a generator',
      function* () {
        yield seat(1)
        yield seat(2)
      },
      [1, 2],
      false,
    ],
    [
      'an async generator of everything',
      async function* () {
        yield await Promise.resolve(seat(1))
        yield [seat(2), seat(3)]
        yield table3
        yield columns({ flight: [7n], row: [7] })
        yield seat(8)
        yield arrow.tableToIPC(table3, 'stream')
        yield []
        yield seat(9)
      },
      [1, 2, 3, 4, 5, 6, 7, 8, 4, 5, 6, 9],
      true,
    ],
    ['a Node stream of rows', () => Readable.from([seat(1), seat(2)]), [1, 2], true],
    ['a Node stream of bytes', () => Readable.from([Buffer.from(arrow.tableToIPC(table3, 'file'))], { objectMode: false, highWaterMark: 16 }), [4, 5, 6], true],
    ['a web stream', () => new Blob([arrow.tableToIPC(table3, 'stream') as Uint8Array<ArrayBuffer>]).stream(), [4, 5, 6], true],
    [
      'a web stream without async iteration',
      () => ({ getReader: () => new ReadableStream({ start: (c) => (c.enqueue(seat(1)), c.enqueue([seat(2)]), c.close()) }).getReader() }),
      [1, 2],
      true,
    ],
  ]

  it.each(each)('%s', async (_name, make, expected, isAsync) => {
    const made = make()
    const data = typeof made === 'function' ? (made as () => unknown)() : made
    const batches = toBatches(view, data)
    expect(isAsyncBatches(batches)).toBe(isAsync)
    const rows: unknown[] = []
    for await (const batch of batches) rows.push(...flat(batch))
    expect(rows).toEqual(expected)
  })

  it.each([[null], [undefined], [5], ['rows'], [true]])('refuses what is none of them: %s', (data) => {
    expect(() => toBatches(view, data)).toThrow(SchemaMismatchError)
    expect(() => toBatches(view, data)).toThrow(/^seats: expected rows, columns\(\), Arrow or a stream of them, got /)
  })

  it.each([[new Float64Array(2)], [new Map([[1, 2]])], [[seat(1), 5]], [[[seat(1)]]]])('refuses rows that are no objects: %#', async (data) => {
    await expect(rowNumbers(data)).rejects.toThrow(/^seats row [01]: expected a row, got /)
  })
})

describe('size of batches', () => {
  const sizes = async (data: unknown, o: ToBatchesOptions = {}): Promise<number[]> => {
    const found: number[] = []
    for await (const batch of toBatches(view, data, o)) found.push(batch.length)
    return found
  }
  const small = numbers(200, 0).map(seat)

  it('is at most the target', async () => {
    expect(await sizes(small, { targetRows: 64 })).toEqual([64, 64, 64, 8])
    expect(await sizes(small[Symbol.iterator](), { targetRows: 64 })).toEqual([64, 64, 64, 8])
    expect(await sizes(Readable.from(small), { targetRows: 64 })).toEqual([64, 64, 64, 8])
    expect(await sizes(columns({ flight: numbers(200).map(BigInt), row: new Int16Array(200) }), { targetRows: 64 })).toEqual([64, 64, 64, 8])
    expect(await sizes(numbers(70_000).map((n) => ({ flight: n, row: 0 })))).toEqual([65_536, 4464])
  })

  it('goes down to about 8 MiB where rows are large', async () => {
    const large = numbers(200).map((n) => ({ ...seat(n), holder: 'x'.repeat(100_000) }))
    for (const data of [large, large[Symbol.iterator](), Readable.from(large)]) {
      const found = await sizes(data)
      expect(Math.max(...found)).toBeLessThanOrEqual(84)
      expect(found.reduce((a, b) => a + b, 0)).toBe(200)
    }
  })

  it('never pulls more than a batch ahead', async () => {
    let pulled = 0
    async function* source(): AsyncGenerator<unknown> {
      for (let n = 0; n < 1000; n++) {
        pulled++
        yield await Promise.resolve(seat(n))
      }
    }
    let taken = 0
    for await (const batch of toBatches(view, source(), { targetRows: 100 })) {
      taken += batch.length
      expect(pulled).toBe(taken)
      await new Promise((resolve) => setImmediate(resolve))
      expect(pulled).toBe(taken)
    }
    expect(taken).toBe(1000)
  })

  it('reports rows after each batch', async () => {
    const seen: number[] = []
    await rowNumbers(small, { targetRows: 90, onRows: (rows) => seen.push(rows) })
    expect(seen).toEqual([90, 180, 200])
  })
})

describe('row numbers in messages', () => {
  it('count over the whole input', async () => {
    const bad = { ...seat(1), row: 'x' }
    const rows = [...numbers(150).map(seat), bad]
    const message = 'seats.row row 150: expected int16, got string "x"'
    await expect(rowNumbers(rows, { targetRows: 64 })).rejects.toThrow(message)
    await expect(rowNumbers(rows[Symbol.iterator](), { targetRows: 64 })).rejects.toThrow(message)
    await expect(rowNumbers(Readable.from(rows), { targetRows: 64 })).rejects.toThrow(message)
    async function* mixed(): AsyncGenerator<unknown> {
      yield await Promise.resolve(seat(0))
      yield table3
      yield arrow.tableToIPC(table3, 'stream')
      yield columns({ flight: [1n, null], row: [1, 2] })
    }
    await expect(rowNumbers(mixed())).rejects.toThrow('seats.flight row 8: a key cannot be null')
    await expect(rowNumbers(mixed())).rejects.toThrow(NullKeyError)
  })
})

describe('the source', () => {
  function watched(n = Number.POSITIVE_INFINITY): { data: AsyncIterableIterator<unknown>; returned: () => number } {
    let returned = 0
    let at = 0
    const data = {
      next: () => Promise.resolve(at < n ? { done: false, value: seat(at++ % 1000) } : { done: true, value: undefined }),
      return: () => {
        returned++
        return Promise.resolve({ done: true, value: undefined })
      },
      [Symbol.asyncIterator]: () => data,
    } as AsyncIterableIterator<unknown>
    return { data, returned: () => returned }
  }

  it('is told when the consumer stops', async () => {
    const { data, returned } = watched()
    for await (const batch of toBatches(view, data, { targetRows: 10 })) {
      expect(batch.length).toBeGreaterThan(0)
      break
    }
    expect(returned()).toBe(1)
  })

  it('is told when a row is wrong, and not when it ended by itself', async () => {
    const { data, returned } = watched(5)
    expect(await rowNumbers(data)).toHaveLength(5)
    expect(returned()).toBe(0)
    let ended = 0
    function* wrong(): Generator<unknown> {
      try {
        for (;;) yield { row: 'x' }
      } finally {
        ended++
      }
    }
    await expect(rowNumbers(wrong(), { targetRows: 3 })).rejects.toThrow(SchemaMismatchError)
    expect(ended).toBe(1)
  })

  it('is told on abort, between two batches and before the first', async () => {
    const stop = new AbortController()
    const { data, returned } = watched()
    const reading = (async () => {
      for await (const batch of toBatches(view, data, { targetRows: 10, signal: stop.signal })) {
        expect(batch.length).toBeGreaterThan(0)
        stop.abort(new Error('enough'))
      }
    })()
    await expect(reading).rejects.toThrow('enough')
    expect(returned()).toBe(1)
    const second = watched()
    await expect(rowNumbers(second.data, { signal: stop.signal })).rejects.toThrow('enough')
    expect(second.returned()).toBe(1)
    await expect(rowNumbers([seat(1)], { signal: stop.signal })).rejects.toThrow('enough')
    await expect(rowNumbers([], { signal: stop.signal })).rejects.toThrow('enough')
  })

  it('is left alone while it never answers: abort does not wait for it', async () => {
    const stop = new AbortController()
    let returned = 0
    const silent = {
      next: () => new Promise<never>(() => {}),
      return: () => {
        returned++
        return new Promise<never>(() => {})
      },
      [Symbol.asyncIterator]: () => silent,
    }
    const reading = rowNumbers(silent, { signal: stop.signal })
    await Promise.resolve()
    stop.abort(new Error('enough'))
    await expect(reading).rejects.toThrow('enough')
    expect(returned).toBe(1)
  })

  it('that fails is not told, and its error comes through', async () => {
    let returned = 0
    const failing = {
      next: () => Promise.reject(new Error('disk on fire')),
      return: () => {
        returned++
        return Promise.resolve({ done: true, value: undefined })
      },
      [Symbol.asyncIterator]: () => failing,
    }
    await expect(rowNumbers(failing)).rejects.toThrow('disk on fire')
    expect(returned).toBe(0)
  })
})
