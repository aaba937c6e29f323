// testing/contracts/root.ts: what every Root promises, as tests (roots.md section 5; the numbers are that section's).
//
// A new kind of root earns these by one line: `rootContract({ describe, it }, 'my root', async () => ({ root: new MyRoot() }))`. Cases of the object store (24-28), of
// the conditional replace (10, 11) and of the ObjectLog (9) come with those; 7 and the processes of 3 and 6 are in the tests of roots that can do them.
import { StorageError } from '../../errors.ts'
import { soon } from '../../runtime/index.ts'

import { check, checkBytes, checkEqual, checkRejects, hasCode, patterned, sha256Hex, type ContractRunner } from './check.ts'
import { ASYNC, infos, names, type RootCase, type RootFixture } from './root-cases.ts'
import { durabilityCases, localCases } from './root-local.ts'

export interface RootContractOptions {
  /** Smaller rounds for slow roots: 1 is the suite as specified. */
  readonly scale?: number
}

export function rootContract(t: ContractRunner, name: string, make: () => Promise<RootFixture>, o: RootContractOptions = {}): void {
  const rounds = (n: number): number => Math.max(1, Math.round(n * (o.scale ?? 1)))
  const it = (title: string, body: (f: RootFixture) => Promise<void>): void =>
    t.it(title, async () => {
      const fixture = await make()
      try {
        await body(fixture)
      } finally {
        await fixture.root[Symbol.asyncDispose]()
        await fixture.dispose?.()
      }
    })
  t.describe(`root contract: ${name}`, () => {
    bytesCases(it, rounds)
    createCases(it, rounds)
    listCases(it, rounds)
    deleteCases(it, rounds)
    rangeAndNameCases(it)
    localCases(it)
    durabilityCases(it)
  })
}

type Rounds = (n: number) => number

function bytesCases(it: RootCase, rounds: Rounds): void {
  for (const size of [0, 1, 5 * 1024 * 1024 + 1, 16 * 1024 * 1024]) {
    it(`1 gives back ${size} bytes as they were put`, async ({ root }) => {
      const bytes = patterned(size, 7)
      await root.put('a/object', bytes)
      const got = await root.get('a/object')
      checkEqual(got.bytes.length, size, 'length')
      checkEqual(await sha256Hex(got.bytes), await sha256Hex(bytes), 'SHA-256')
      checkEqual((await root.head('a/object'))?.size, size, 'head().size')
    })
  }

  it('1 keeps its own copy of what was put and hands out copies', async ({ root }) => {
    const bytes = new Uint8Array([1, 2, 3])
    await root.put('a', bytes)
    bytes[0] = 9
    const got = await root.get('a')
    got.bytes[1] = 9
    checkBytes((await root.get('a')).bytes, new Uint8Array([1, 2, 3]), 'stored bytes')
  })

  it('2 replaces whole: eight readers only ever see one version', async ({ root }) => {
    const versions = rounds(1000)
    const body = (version: number): Uint8Array => new Uint8Array(4096 + (version % 3) * 1000).fill(version & 255)
    await root.put('v', body(0), ASYNC)
    let running = true
    const reader = async (): Promise<number> => {
      let reads = 0
      while (running) {
        const { bytes } = await root.get('v')
        check(
          bytes.every((byte) => byte === bytes[0]),
          'a read is one whole version',
        )
        check(bytes.length >= 4096, 'a read has the length of a version', bytes.length)
        reads++
        await Promise.resolve()
        if (reads % 16 === 0) await turn()
      }
      return reads
    }
    const readers = Array.from({ length: 8 }, reader)
    for (let version = 1; version <= versions; version++) {
      await root.put('v', body(version), ASYNC)
      if (version % 16 === 0) await turn()
    }
    running = false
    const reads = await Promise.all(readers)
    check(
      reads.every((n) => n > 0),
      'every reader read',
      reads,
    )
  })

  it('3 shows a resolved create-if-absent to another handle at once', async ({ root, peer }) => {
    if (peer === undefined) return
    await using other = await peer()
    for (let round = 0; round < rounds(200); round++) {
      const bytes = patterned(8192, round)
      await root.putIfAbsent(`o/${round}`, bytes, ASYNC)
      checkBytes((await other.get(`o/${round}`)).bytes, bytes, `round ${round}`)
    }
  })

  it('4 leaves no object behind an aborted put', async ({ root }) => {
    await checkRejects(root.put('gone', new Uint8Array(10), { signal: AbortSignal.abort() }), isAbort, 'an AbortError')
    await checkRejects(root.putIfAbsent('gone', new Uint8Array(10), { signal: AbortSignal.abort() }), isAbort, 'an AbortError')
    const controller = new AbortController()
    const parts = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1000)
      controller.abort()
      yield new Uint8Array(1000)
    }
    await checkRejects(root.putLarge('gone', parts(), { signal: controller.signal }), isAbort, 'an AbortError')
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1000)
      throw new Error('the source ended')
    }
    await checkRejects(root.putLarge('gone', broken()), (error) => String(error).includes('the source ended'), 'the error of the source')
    checkEqual(await root.head('gone'), undefined, 'head')
    checkEqual(await names(root, ''), [], 'list')
  })

  it('4 joins the parts of a large put', async ({ root }) => {
    const parts = async function* (): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 5; i++) yield patterned(100_000 + i, i)
      yield new Uint8Array(0)
    }
    const { size } = await root.putLarge('big', parts())
    checkEqual(size, 500_010, 'size')
    const { bytes } = await root.get('big')
    checkBytes(bytes.subarray(100_000, 200_001), patterned(100_001, 1), 'second part')
    checkEqual(bytes.length, 500_010, 'length')
  })
}

function createCases(it: RootCase, rounds: Rounds): void {
  it('5 creates a free name and leaves a taken one alone', async ({ root }) => {
    const [one, two] = [patterned(100, 1), patterned(200, 2)]
    const first = await root.putIfAbsent('n', one)
    checkEqual(first.status, 'created', 'first status')
    checkBytes((await root.get('n')).bytes, one, 'bytes')
    checkEqual((await root.putIfAbsent('n', two)).status, 'exists', 'second status')
    checkBytes((await root.get('n')).bytes, one, 'the old bytes')
    checkEqual(first.tag, (await root.head('n'))?.tag, 'tag')
  })

  for (const racers of [16, 32]) {
    it(`6 has one winner among ${racers} creators, whose bytes are stored`, async ({ root }) => {
      for (let round = 0; round < rounds(100); round++) {
        const bodies = Array.from({ length: racers }, (_, i) => patterned(64 + i, round * racers + i))
        const results = await Promise.all(bodies.map((body) => root.putIfAbsent(`race/${round}`, body, ASYNC)))
        const winners = results.flatMap(({ status }, i) => (status === 'created' ? [i] : []))
        checkEqual(winners.length, 1, `winners of round ${round}`)
        checkBytes((await root.get(`race/${round}`)).bytes, bodies[winners[0]!]!, 'the bytes of the winner')
      }
    })
  }

  it('8 links to a free name and leaves a taken one alone', async ({ root }) => {
    await root.put('from', new Uint8Array([1]))
    await root.put('taken', new Uint8Array([2]))
    checkEqual(await root.link('from', 'taken'), { status: 'exists' }, 'a taken name')
    checkBytes((await root.get('taken')).bytes, new Uint8Array([2]), 'target')
    checkEqual(await root.link('from', 'new/place'), { status: 'created' }, 'a free name')
    checkBytes((await root.get('new/place')).bytes, new Uint8Array([1]), 'linked bytes')
    await root.delete('from')
    checkBytes((await root.get('new/place')).bytes, new Uint8Array([1]), 'bytes under the second name')
    await checkRejects(root.link('from', 'other'), hasCode('root.not-found'), 'root.not-found')
  })
}

function listCases(it: RootCase, rounds: Rounds): void {
  it('12 lists in byte order, page by page, without gap or double', async ({ root }) => {
    const all = Array.from({ length: 2500 }, (_, i) => `p/${String((i * 7919) % 2500).padStart(5, '0')}`)
    for (let i = 0; i < all.length; i += 50) await Promise.all(all.slice(i, i + 50).map((name) => root.put(name, new Uint8Array(i % 7), ASYNC)))
    const pages: string[][] = []
    for (let after: string | undefined; ;) {
      const page = await names(root, 'p', { limit: 1000, ...(after === undefined ? {} : { after }) })
      if (page.length === 0) break
      pages.push(page)
      after = page.at(-1)!
    }
    checkEqual(
      pages.map((page) => page.length),
      [1000, 1000, 500],
      'pages',
    )
    checkEqual(pages.flat(), [...all].sort(), 'names')
    checkEqual(await names(root, 'p', { after: pages.at(-1)!.at(-1)! }), [], 'after the last')
  })

  it('12 orders by the bytes of whole names, folders among them', async ({ root }) => {
    const ordered = ['A', 'a-b', 'a.b', 'a/x', 'a/x-y', 'a0', 'b/c/d', 'b/c0', 'é', '\uff5e', '\u{1f600}']
    for (const name of [...ordered].reverse()) await root.put(name, new Uint8Array(1), ASYNC)
    checkEqual(await names(root, ''), ordered, 'names')
    for (const [i, after] of ordered.entries()) checkEqual(await names(root, '', { after }), ordered.slice(i + 1), `after ${after}`)
    checkEqual(await names(root, '', { after: 'a/' }), ordered.slice(3), 'after a/')
    checkEqual(await names(root, '', { after: 'b', limit: 2 }), ['b/c/d', 'b/c0'], 'two after b')
  })

  it('12 takes a prefix for a folder or a whole name', async ({ root }) => {
    for (const name of ['a/b/1', 'a/b/2', 'a/bc', 'a/bc/1'.replace('bc', 'bd'), 'a/a', 'ab']) await root.put(name, new Uint8Array(1), ASYNC)
    checkEqual(await names(root, 'a/b'), ['a/b/1', 'a/b/2'], 'a/b')
    checkEqual(await names(root, 'a/b/'), ['a/b/1', 'a/b/2'], 'a/b/')
    checkEqual(await names(root, 'a/bc'), ['a/bc'], 'a name')
    checkEqual(await names(root, 'a/bc/'), [], 'below a name')
    checkEqual(await names(root, 'none'), [], 'nothing')
    checkEqual(await names(root, 'a/b', { limit: 0 }), [], 'limit 0')
  })

  it('12 leaves out what was deleted and what is temporary', async ({ root }) => {
    for (const name of ['t/1', 't/2', 't/3.tmp', 'u.tmp']) await root.put(name, new Uint8Array(1), ASYNC)
    await root.delete('t/1')
    checkEqual(await names(root, ''), ['t/2'], 'names')
    const [info] = await infos(root, 't')
    checkEqual(info?.size, 1, 'size')
    checkEqual(info?.tag, (await root.head('t/2'))?.tag, 'tag')
  })

  it('13 lists a new name at once', async ({ root }) => {
    await root.put('s/000', new Uint8Array(1), ASYNC)
    for (let i = 1; i <= rounds(100); i++) {
      const name = `s/${String(i).padStart(3, '0')}`
      await root.put(name, new Uint8Array(1), ASYNC)
      checkEqual(await names(root, 's', { after: `s/${String(i - 1).padStart(3, '0')}` }), [name], 'the new name')
    }
  })

  it('14 tells objects and prefixes that exist from those that do not', async ({ root }) => {
    await root.put('x/y/z', new Uint8Array(1), ASYNC)
    await root.put('e/f', new Uint8Array(1), ASYNC)
    await root.delete('e/f')
    const found: Record<string, boolean> = {}
    for (const name of ['x/y/z', 'x/y', 'x', 'x/y/zz', 'x/y/z/w', 'xx', 'e', 'e/f']) found[name] = await root.exists(name)
    const expected = { 'x/y/z': true, 'x/y': true, x: true, 'x/y/zz': false, 'x/y/z/w': false, xx: false, e: false, 'e/f': false }
    checkEqual(found, expected, 'exists')
    checkEqual(await root.head('x/y'), undefined, 'head of a prefix')
    // An empty directory does not exist, so an object may have its name.
    await root.put('e', new Uint8Array(1), ASYNC)
    await root.put('g/h/i', new Uint8Array(1), ASYNC)
    await root.delete('g/h/i')
    checkEqual((await root.putIfAbsent('g', new Uint8Array(1), ASYNC)).status, 'created', 'a name that an empty directory has')
    checkEqual(await names(root, ''), ['e', 'g', 'x/y/z'], 'names')
    await checkRejects(root.get('x/y'), hasCode('root.not-found'), 'get of a prefix: root.not-found')
  })

  it('15 has no head of a missing name, and get says notFound', async ({ root }) => {
    checkEqual(await root.head('missing'), undefined, 'head')
    await checkRejects(root.get('missing'), (error) => error instanceof StorageError && error.class === 'notFound' && !error.retryable, 'StorageError notFound')
    await checkRejects(root.get('missing/below'), hasCode('root.not-found'), 'root.not-found')
    await root.put('object', new Uint8Array(1), ASYNC)
    await checkRejects(root.get('object/below'), hasCode('root.not-found'), 'root.not-found')
    checkEqual(await root.head('object/below'), undefined, 'head below an object')
  })
}

function deleteCases(it: RootCase, rounds: Rounds): void {
  it('16 deletes once and again', async ({ root }) => {
    await root.put('d/1', new Uint8Array(1))
    await root.put('d/2', new Uint8Array(1))
    await root.delete(['d/1', 'never', 'never/there', 'd/1/below', 'd'])
    await root.delete('d/1')
    checkEqual(await names(root, ''), ['d/2'], 'names')
  })

  it('16 deletes a prefix, its skeleton and nothing beside it', async ({ root }) => {
    for (const name of ['k/a/1', 'k/a/b/2', 'k/a/b/c/3', 'k/ab', 'k/b/1', 'ka']) await root.put(name, new Uint8Array(1), ASYNC)
    const told: number[] = []
    checkEqual(await root.deletePrefix('k/a', { onProgress: (n) => told.push(n) }), { deleted: 3 }, 'deleted')
    checkEqual(told, [1, 2, 3], 'progress')
    checkEqual(await names(root, ''), ['k/ab', 'k/b/1', 'ka'], 'names')
    checkEqual(await root.deletePrefix('k/a'), { deleted: 0 }, 'deleted again')
    checkEqual(await root.exists('k/a'), false, 'exists')
    // Were the skeleton left, this name would be taken by a folder.
    await root.put('k/a', new Uint8Array(2))
    checkEqual(await root.deletePrefix('k/a/'), { deleted: 0 }, 'below an object')
    checkEqual(await root.deletePrefix('k/a'), { deleted: 1 }, 'an object')
    checkEqual(await root.deletePrefix(''), { deleted: 3 }, 'everything')
    checkEqual(await names(root, ''), [], 'names')
    await root.put('again', new Uint8Array(1))
  })

  it('16 deletes 2 500 names in one call', async ({ root }) => {
    const all = Array.from({ length: rounds(2500) }, (_, i) => `bulk/${i % 10}/${i}`)
    for (let i = 0; i < all.length; i += 50) await Promise.all(all.slice(i, i + 50).map((name) => root.put(name, new Uint8Array(1), ASYNC)))
    await root.delete(all)
    checkEqual(await names(root, ''), [], 'names')
  })
}

function rangeAndNameCases(it: RootCase): void {
  it('17 reads ranges and refuses what is beyond the end', async ({ root }) => {
    const bytes = patterned(1000, 3)
    await root.put('r', bytes)
    const ranges = [
      [{ start: 0, end: 1 }, 0, 1],
      [{ start: 999, end: 1000 }, 999, 1000],
      [{ start: 100, end: 200 }, 100, 200],
      [{ start: 0, end: 1000 }, 0, 1000],
      [{ suffix: 10 }, 990, 1000],
      [{ suffix: 5000 }, 0, 1000],
    ] as const
    for (const [range, start, end] of ranges) {
      checkBytes((await root.get('r', { range })).bytes, bytes.subarray(start, end), JSON.stringify(range))
      checkBytes((await root.get('r', { range, immutable: true })).bytes, bytes.subarray(start, end), JSON.stringify(range))
      if (root.caps.syncRead) checkBytes(root.getSync('r', { range }).bytes, bytes.subarray(start, end), `${JSON.stringify(range)} sync`)
    }
    for (const range of [
      { start: 1000, end: 1001 },
      { start: 0, end: 1001 },
      { start: 5, end: 4 },
      { start: -1, end: 1 },
    ]) {
      await checkRejects(root.get('r', { range }), (error) => error instanceof RangeError, `RangeError for ${JSON.stringify(range)}`)
    }
  })

  it('18 round-trips unusual names', async ({ root }) => {
    const long = `${'l'.repeat(200)}/${'m'.repeat(200)}/${'n'.repeat(110)}`
    const all = [
      'with space',
      'plus+plus',
      'per%2Fcent',
      'eq=ual',
      'grün/ö',
      '日本/語',
      '\u{1f600}',
      ' lead',
      'trail ',
      'quote\'"',
      'semi;colon',
      'q?x#y&z',
      long,
      '.hidden',
      'a..b',
      '-dash',
    ]
    for (const [i, name] of all.entries()) await root.put(name, patterned(10, i))
    const listed = await names(root, '')
    checkEqual([...listed].sort(), [...all].sort(), 'names')
    for (const [i, name] of all.entries()) checkBytes((await root.get(name)).bytes, patterned(10, i), name)
    for (const name of all) check((await root.putIfAbsent(name, new Uint8Array(1))).status === 'exists', `${name} is taken`)
  })

  it('19 refuses names that are absolute, climb or are not plain', async ({ root }) => {
    const bad = ['', '/', '/abs', 'a/../b', '..', './a', 'a/.', 'a//b', 'a/', 'nul\0', 'back\\slash', 'e\u0301', '\ud800', 'x'.repeat(513), 'é'.repeat(257)]
    for (const name of bad) {
      const refused = (promise: Promise<unknown>): Promise<unknown> =>
        checkRejects(promise, hasCode('options.name'), `InvalidNameError for ${JSON.stringify(name)}`)
      await refused(root.put(name, new Uint8Array(1)))
      await refused(root.putIfAbsent(name, new Uint8Array(1)))
      await refused(root.get(name))
      await refused(root.head(name))
      await refused(root.exists(name))
      await refused(root.delete(['fine', name]))
      if (root.caps.hardLink) await refused(root.link('fine', name))
      if (root.caps.segments) await refused(root.segment(name, { preallocate: 10 }))
    }
    checkEqual(await names(root, ''), [], 'names')
  })
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => soon(resolve))
}
