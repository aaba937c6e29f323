// testing/contracts/commit-log.ts: what every CommitLog promises, as tests (log.md section 8).
//
// A new kind of log earns these by one line: `commitLogContract({ describe, it }, 'my log', make)`. What needs files (damage, LOCK, faults) is in the tests
// of the segment log; lines of the ObjectLog and of replicas come with those.
import { decodeEpochRecord, FLAG_MORE } from '../../format/index.ts'
import { lsn } from '../../log/index.ts'
import { type FailpointName, FP, soon } from '../../runtime/index.ts'

import { check, checkBytes, checkEqual, checkRejects, hasCode, patterned, type ContractRunner } from './check.ts'
import { chainOf, idOf, idsOf, type LogFixture, type LogFixtureOptions, type MakeLog, readAll, record, recordsOf } from './log-records.ts'

type Case = (title: string, o: LogFixtureOptions, body: (f: LogFixture) => Promise<void>) => void

const TIMES = 24

/** Small segments: a few hundred records roll several of them. */
const SMALL: LogFixtureOptions = { segmentBytes: 16 * 1024 }

export function commitLogContract(t: ContractRunner, name: string, make: MakeLog): void {
  const it: Case = (title, o, body) =>
    t.it(title, async () => {
      const fixture = await make(o)
      try {
        await body(fixture)
      } finally {
        await fixture.dispose?.()
      }
    })
  t.describe(`commit log contract: ${name}`, () => {
    appendCases(it)
    digestCases(it, t, make)
    reopenCases(it, t, make)
    followCases(it)
    trimCases(it)
    durabilityCases(it, t, make)
  })
}

function appendCases(it: Case): void {
  it('1 000 appends get dense LSNs, resolve in their order and read back byte for byte', {}, async ({ log }) => {
    const resolved: bigint[] = []
    const base = log.head
    const appends = Array.from({ length: 1000 }, (_, i) => log.append([record(i)]).then(({ first }) => resolved.push(first)))
    await Promise.all(appends)
    checkEqual(
      resolved,
      Array.from({ length: 1000 }, (_, i) => base + BigInt(i) + 1n),
      'order of resolution',
    )
    checkEqual(log.head, base + 1000n, 'head')
    const back = await readAll(log, base)
    checkEqual(back.length, 1000, 'records')
    for (const [i, found] of back.entries()) checkBytes(found.payload, record(i).payload, `payload ${i}`)
  })

  it('gives LSNs at once and tells the listener of a group before its appends resolve', {}, async ({ log }) => {
    const told: bigint[] = []
    log.listen({ durable: (last) => void told.push(last), failed: () => {} })
    const base = log.head
    const submissions = [log.submit([record(1)]), log.submit([record(2), record(3)])]
    checkEqual(
      submissions,
      [
        { first: base + 1n, last: base + 1n },
        { first: base + 2n, last: base + 3n },
      ],
      'submissions',
    )
    checkEqual(log.submitted, base + 3n, 'submitted')
    check(log.head === base, 'nothing is acknowledged yet', log.head)
    const { last } = await log.append([record(4)])
    checkEqual(last, base + 4n, 'LSN of the append')
    checkEqual(told.at(-1), last, 'what the listener knew when the append resolved')
    checkEqual(
      told,
      [...told].sort((a, b) => Number(a - b)),
      'order of groups',
    )
  })

  it('gives the records of one append consecutive LSNs, marked as one', {}, async ({ log }) => {
    const base = log.head
    const [a, b] = await Promise.all([log.append([record(1), record(2), record(3)]), log.append([record(4)])])
    checkEqual(
      [a, b],
      [
        { first: base + 1n, last: base + 3n },
        { first: base + 4n, last: base + 4n },
      ],
      'LSNs',
    )
    const flags = (await readAll(log, base)).map(({ flags }) => flags & FLAG_MORE)
    checkEqual(flags, [FLAG_MORE, FLAG_MORE, 0, 0], 'more-follow flags')
  })

  it('256 concurrent appends share fewer than 64 syncs, and each resolves after the one that covers it', {}, async ({ log, syncs }) => {
    const before = syncs?.() ?? 0
    await Promise.all(
      Array.from({ length: 256 }, (_, i) =>
        log.append([record(i)]).then(({ last }) => check(log.durableHead >= last, `LSN ${last} is synced when it resolves`, log.durableHead)),
      ),
    )
    const spent = (syncs?.() ?? 0) - before
    check(spent < 64, 'fewer than 64 syncs', spent)
  })

  for (const bytes of [0, 1, 7, 8, 64 * 1024, 4 * 1024 * 1024, 5 * 1024 * 1024 + 3]) {
    it(`takes a payload of ${bytes} bytes`, {}, async ({ log, kill }) => {
      const base = log.head
      const payload = patterned(bytes, bytes + 1)
      await log.append([record(1)])
      await log.append([{ kind: 2, payload }])
      await log.append([record(2)])
      checkBytes((await readAll(log, base))[1]!.payload, payload, 'payload')
      const again = await kill()
      checkBytes((await readAll(again, base))[1]!.payload, payload, 'payload after a kill')
      checkEqual((await readAll(again, base)).length, 4, 'records and the epoch record')
    })
  }

  it('takes an append of 3 000 records whole', {}, async ({ log, kill }) => {
    const base = log.head
    const small = Array.from({ length: 3000 }, (_, i) => record(i))
    const [first, { last }] = await Promise.all([log.append([record(9)]), log.append(small), log.append([record(8)])])
    checkEqual([first.first, last], [base + 1n, base + 3001n], 'LSNs')
    const again = await kill()
    checkEqual((await readAll(again, base)).length, 3003, 'records')
  })

  it('keeps order over full groups: 5 000 submits in one turn', {}, async ({ log }) => {
    const base = log.head
    for (let i = 0; i < 5000; i++) log.submit([record(i)])
    await log.sync()
    checkEqual(log.head, base + 5000n, 'head')
    const back = await readAll(log, base)
    for (const [i, found] of back.entries()) checkBytes(found.payload, record(i).payload, `payload ${i}`)
  })

  it('refuses an append whose expected head is not the head', {}, async ({ log }) => {
    await log.append([record(1)])
    const head = log.head
    await checkRejects(log.append([record(2)], { expect: lsn(head - 1n) }), hasCode('log.lsn-taken'), 'LsnTakenError')
    await log.append([record(3)], { expect: head })
    checkEqual(log.head, lsn(head + 1n), 'head: nothing of the refused one was written')
  })

  it('takes back an append that is aborted before it is written, and not afterwards', {}, async ({ log }) => {
    const base = log.head
    const aborted = new AbortController()
    const late = new AbortController()
    const first = log.append([record(1)], { signal: aborted.signal })
    aborted.abort(new DOMException('gone', 'AbortError'))
    const second = log.append([record(2)], { signal: late.signal })
    await checkRejects(first, (error) => error instanceof DOMException && error.name === 'AbortError', 'AbortError')
    const submission = await second
    late.abort()
    checkEqual(submission.last, lsn(base + 1n), 'LSN of the one that stayed')
    checkEqual((await readAll(log, base)).length, 1, 'records')
    await checkRejects(log.append([record(3)], { signal: aborted.signal }), (error) => error instanceof DOMException, 'AbortError at once')
  })

  it('refuses a record over the bound before any work', {}, async ({ log }) => {
    const head = log.head
    await checkRejects(log.append([{ kind: 2, payload: new Uint8Array(64 * 1024 * 1024) }]), hasCode('options.limit'), 'ResourceLimitError')
    checkEqual(log.submitted, head, 'submitted')
  })

  it('refuses every call after close', {}, async ({ log }) => {
    await log.close()
    await log.close()
    await checkRejects(log.append([record(1)]), hasCode('store.closed'), 'ClosedError')
    await checkRejects(readAll(log, lsn(0)), hasCode('store.closed'), 'ClosedError')
  })
}

function digestCases(it: Case, t: ContractRunner, make: MakeLog): void {
  it('digestAt(n) is the chain of record hashes, for every n, over rolls, a reopen and a trim', SMALL, async ({ log, reopen }) => {
    for (let i = 0; i < 40; i++) await Promise.all(Array.from({ length: 20 }, (_, k) => log.append([record(i * 20 + k)])))
    const expected = await chainOf(log)
    for (let n = 0n; n <= log.head; n += 1n) checkBytes(await log.digestAt(lsn(n)), expected[Number(n)]!, `digestAt(${n})`)
    for await (const batch of log.read(lsn(0))) checkBytes(await batch.digest(), expected[Number(batch.last)]!, 'digest of a batch')
    await log.close()
    const again = await reopen()
    for (let n = 0n; n < again.head; n += 13n) checkBytes(await again.digestAt(lsn(n)), expected[Number(n)]!, `digestAt(${n}) after reopen`)
    const tail = await again.trim(lsn(400))
    check(tail > 0n && tail <= 400n, 'something was trimmed', tail)
    for (let i = 0; i < 300; i++) await again.append([record(i)])
    for (let n: bigint = tail; n < BigInt(expected.length); n += 7n) checkBytes(await again.digestAt(lsn(n)), expected[Number(n)]!, `digestAt(${n}) after trim`)
    await checkRejects(again.digestAt(lsn(tail - 1n)), hasCode('store.history-unavailable'), 'HistoryUnavailableError below T')
    await checkRejects(again.digestAt(lsn(again.head + 1n)), hasCode('store.history-unavailable'), 'HistoryUnavailableError above H')
  })

  t.it('two logs fed the same records agree at every n; one changed bit parts them from there on', async () => {
    const fixtures = [await make({ sameIds: true }), await make({ sameIds: true, segmentBytes: 8192 })] as const
    try {
      const [a, b] = [fixtures[0].log, fixtures[1].log]
      for (let i = 0; i < 200; i++) for (const { log } of fixtures) await log.append([record(i)])
      for (let n = 0n; n <= a.head; n += 1n) checkBytes(await b.digestAt(lsn(n)), await a.digestAt(lsn(n)), `digestAt(${n})`)
      const at = a.head
      const changed = record(7).payload.slice()
      changed[3]! ^= 1
      await Promise.all([a.append([record(7)]), b.append([{ kind: 2, payload: changed }])])
      await Promise.all([a.append([record(8)]), b.append([record(8)])])
      checkBytes(await b.digestAt(at), await a.digestAt(at), 'digest before the change')
      for (const n of [at + 1n, at + 2n]) {
        const [x, y] = [await a.digestAt(lsn(n)), await b.digestAt(lsn(n))]
        check(
          x.some((byte, i) => byte !== y[i]),
          `digests differ at ${n}`,
        )
      }
    } finally {
      for (const fixture of fixtures) await fixture.dispose?.()
    }
  })
}

function reopenCases(it: Case, t: ContractRunner, make: MakeLog): void {
  it('a clean close and reopen adds nothing but an epoch record', SMALL, async ({ log, reopen }) => {
    for (let i = 0; i < 100; i++) await log.append([record(i)])
    const [head, digest] = [log.head, await log.digestAt(log.head)]
    await log.close()
    const again = await reopen()
    checkEqual(again.head, lsn(head + 1n), 'head')
    checkEqual(
      (await readAll(again, lsn(head))).map(({ kind }) => kind),
      [1],
      'kinds behind the old head',
    )
    checkBytes(await again.digestAt(head), digest, 'digest at the old head')
  })

  it('three reopens without a write give three epochs and dense LSNs', {}, async ({ log, reopen, kill }) => {
    checkEqual([log.epoch, log.head], [1n, 1n], 'first epoch')
    await log.close()
    const second = await reopen()
    checkEqual([second.epoch, second.head], [2n, 2n], 'second epoch')
    const third = await kill()
    checkEqual([third.epoch, third.head], [3n, 3n], 'third epoch')
    const isExclusive = decodeEpochRecord((await readAll(third, lsn(0)))[0]!.payload).mode === 'exclusive'
    checkEqual(third.lineage, isExclusive ? [1n, 2n, 3n].map((n) => ({ epoch: n, firstLsn: n })) : [], 'lineage: one mark per exclusive epoch')
  })

  it('a kill loses nothing that was acknowledged and splits no append', SMALL, async ({ log, kill }) => {
    let current = log
    const expected: number[] = []
    for (let round = 0; round < 8; round++) {
      const acknowledged: number[] = []
      for (let i = 0; i < 30; i++) {
        const id = round * 1000 + i * 3
        void current.append([record(id), record(id + 1), record(id + 2)]).then(
          () => acknowledged.push(id),
          () => {},
        )
        if (i % 10 === round) await new Promise<void>((resolve) => soon(resolve))
      }
      if (round % 2 === 0) await current.sync()
      const told = [...acknowledged]
      current = await kill()
      expected.push(...told)
      const ids = idsOf(await readAll(current, lsn(0)))
      for (const id of expected) check(ids.includes(id) && ids.includes(id + 1) && ids.includes(id + 2), `record ${id} and its two followers are there`)
      check(ids.filter((id) => id % 3 === 0).length * 3 === ids.length, 'every append is whole')
    }
  })

  t.it('a crash at every failpoint of the log loses nothing acknowledged and invents nothing', async () => {
    const ofSegments = [
      FP.log.beforeWrite,
      FP.log.shortWrite,
      FP.log.beforeSync,
      FP.log.afterSync,
      FP.log.beforeLockCheck,
      FP.log.beforeFooter,
      FP.log.afterFooter,
      FP.log.roll,
      FP.log.preallocate,
      FP.log.recycle,
      FP.log.trim,
      FP.log.beforeClean,
      FP.log.afterClean,
    ]
    const first = await make({})
    const points = first.points ?? ofSegments
    await first.dispose?.()
    for (const point of points) {
      for (const after of [0, 1, 5]) {
        const fixture = await make({ segmentBytes: 8192 })
        if (fixture.failpoints === undefined) return fixture.dispose?.()
        try {
          const reached = await crashAt(fixture, point, after)
          check(reached || after > 0, `the workload reaches ${point}`)
        } finally {
          await fixture.dispose?.()
        }
      }
    }
  })
}

/** Runs a workload until the point stops the handle, then opens again and compares. */
async function crashAt({ log, failpoints, kill }: LogFixture, point: FailpointName, after: number): Promise<boolean> {
  const acknowledged: number[] = []
  let stopped = false
  let stop!: () => void
  const there = new Promise<void>((resolve) => (stop = resolve))
  {
    // What is behind the point never happens: the process is gone.
    using _armed = failpoints!.arm(point, {
      after,
      mayMiss: true,
      run: () => {
        stopped = true
        stop()
        return new Promise(() => {})
      },
    })
    const work = async (): Promise<void> => {
      for (let i = 0; i < 200 && !stopped; i++) {
        await log.append([record(i)])
        acknowledged.push(i)
        if (i === 150) await log.trim(lsn(140))
      }
      await log.close()
    }
    await Promise.race([there, work()])
  }
  const again = await kill()
  const ids = idsOf(await readAll(again, again.tail))
  const first = ids[0] ?? 0
  checkEqual(
    ids,
    Array.from({ length: ids.length }, (_, i) => first + i),
    `${point}: records are dense and in order`,
  )
  const last = acknowledged.at(-1) ?? -1
  check((ids.at(-1) ?? -1) >= last, `${point}: all ${last + 1} acknowledged records are there`, ids.at(-1))
  check((ids.at(-1) ?? -1) <= last + 1, `${point}: nothing was invented`, ids.at(-1))
  await again.digestAt(again.head)
  await again.append([record(999)])
  await again.close()
  return stopped
}

function followCases(it: Case): void {
  it('tailing gives every record once and in order while the log rolls and trims behind a pin', SMALL, async ({ log }) => {
    const total = 600
    const pin = await log.pin(lsn(0), 'reader')
    const stop = new AbortController()
    const seen: number[] = []
    const tailing = (async () => {
      for await (const batch of log.tailing(lsn(0), { signal: stop.signal })) {
        for (const { kind, payload } of recordsOf(batch)) if (kind === 2) seen.push(idOf(payload))
        if (seen.length === total) return
        await log.trim(lsn(batch.last - 1n))
      }
    })()
    for (let i = 0; i < total; i++) await log.append([record(i)])
    await tailing
    checkEqual(
      seen,
      Array.from({ length: total }, (_, i) => i),
      'records',
    )
    checkEqual(log.tail, lsn(0), 'T behind the pin')
    pin.release()
    check((await log.trim(log.head)) > 0n, 'T moves once the pin is gone')
    stop.abort()
  })

  it('a waiting tailer ends with the reason of its signal', {}, async ({ log }) => {
    const stop = new AbortController()
    const waiting = (async () => {
      for await (const _ of log.tailing(log.head, { signal: stop.signal }));
    })()
    await new Promise<void>((resolve) => soon(resolve))
    stop.abort(new DOMException('enough', 'AbortError'))
    await checkRejects(waiting, (error) => error instanceof DOMException && error.message === 'enough', 'the reason')
  })

  it('a reader without a pin that is overtaken by trim is told so', SMALL, async ({ log }) => {
    for (let i = 0; i < 900; i++) await log.append([record(i)])
    const reading = log.read(lsn(0))[Symbol.asyncIterator]()
    const first = await reading.next()
    check(first.done !== true, 'a batch')
    await log.trim(log.head)
    for (let i = 0; i < 400; i++) await log.append([record(i)])
    // A batch that was handed out is whole; a later one is refused, never wrong.
    if (first.value.last < 901n) await checkRejects(drain(reading), hasCode('store.history-unavailable'), 'HistoryUnavailableError')
    await checkRejects(readAll(log, lsn(0)), hasCode('store.history-unavailable'), 'HistoryUnavailableError')
  })

  it('reads from the middle, to the middle, and nothing beyond the head', SMALL, async ({ log }) => {
    for (let i = 0; i < 300; i++) await log.append([record(i)])
    for (const [start, end] of [
      [0, 1],
      [5, 5],
      [17, 230],
      [250, 9999],
      [301, 400],
    ] as const) {
      const found: bigint[] = []
      for await (const batch of log.read(lsn(start), { end: lsn(end) })) {
        checkEqual(batch.offsets.length, Number(batch.last - batch.first) + 1, 'offsets')
        checkEqual(batch.frames().length, batch.offsets.length, 'frames')
        for (let n = batch.first as bigint; n <= batch.last; n += 1n) found.push(n)
      }
      const until = Math.min(end, 301)
      checkEqual(
        found,
        Array.from({ length: Math.max(0, until - start) }, (_, i) => BigInt(start + i + 1)),
        `LSNs after ${start} up to ${end}`,
      )
    }
  })

  it('a read-only handle beside the writer sees its commits and writes nothing', SMALL, async ({ log, reader }) => {
    if (reader === undefined) return
    for (let i = 0; i < 50; i++) await log.append([record(i)])
    const beside = await reader()
    checkEqual([beside.head, beside.epoch], [log.head, 0n], 'head and epoch')
    const seen: number[] = []
    const stop = new AbortController()
    const tailing = (async () => {
      for await (const batch of beside.tailing(lsn(0), { signal: stop.signal })) {
        for (const { kind, payload } of recordsOf(batch)) if (kind === 2) seen.push(idOf(payload))
        if (seen.length === 500) return
      }
    })()
    for (let i = 50; i < 500; i++) {
      await log.append([record(i)])
      if (i % 50 === 0) await beside.refresh()
    }
    await beside.refresh()
    await tailing
    checkEqual(
      seen,
      Array.from({ length: 500 }, (_, i) => i),
      'records',
    )
    await checkRejects(beside.append([record(1)]), hasCode('store.read-only'), 'ReadOnlyError')
    await checkRejects(beside.trim(lsn(1)), hasCode('store.read-only'), 'ReadOnlyError')
    checkBytes(await beside.digestAt(beside.head), await log.digestAt(beside.head), 'digest')
    await beside.close()
  })
}

function trimCases(it: Case): void {
  it('trim never passes a pin; released, it advances', SMALL, async ({ log }) => {
    for (let i = 0; i < 600; i++) await log.append([record(i)])
    const [low, high] = [await log.pin(lsn(200), 'hold'), await log.pin(lsn(400), 'backup')]
    const first = await log.trim(lsn(600))
    check(first <= 200n, 'T <= 200 behind both pins', first)
    low.release()
    const second = await log.trim(lsn(600))
    check(second > first && second <= 400n, 'T <= 400 behind the second', second)
    high.release()
    check((await log.trim(lsn(600))) > second, 'T advances')
    await checkRejects(log.pin(lsn(0), 'reader'), hasCode('log.pin-refused'), 'PinRefusedError below T')
    checkEqual((await readAll(log, log.tail)).length, Number(log.head - log.tail), 'records that are left')
  })

  it('pins raced against trim are granted and honoured, or refused', SMALL, async ({ log }) => {
    for (let i = 0; i < 500; i++) await log.append([record(i)])
    let granted = 0
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const at = lsn(i * 12)
        if (i % 3 === 0) return log.trim(at)
        try {
          const pin = await log.pin(at, 'reader')
          granted++
          checkEqual((await readAll(log, at)).length, 501 - i * 12, 'records behind a granted pin')
          pin.release()
        } catch (error) {
          check(hasCode('log.pin-refused')(error), 'PinRefusedError', error)
        }
        return undefined
      }),
    )
    check(granted > 0, 'some pins are granted')
  })

  it('keeps the tail, its digest and the rest over a kill after a trim', SMALL, async ({ log, kill }) => {
    for (let i = 0; i < 400; i++) await log.append([record(i)])
    const tail = await log.trim(lsn(300))
    const digest = await log.digestAt(tail)
    const again = await kill()
    checkEqual(again.tail, tail, 'T')
    checkBytes(await again.digestAt(tail), digest, 'digestAt(T)')
    checkEqual(idsOf(await readAll(again, tail)).at(-1), 399, 'last record')
  })
}

function durabilityCases(it: Case, t: ContractRunner, make: MakeLog): void {
  it('synced: a power cut right after the resolve loses nothing', SMALL, async ({ log, powerCut }) => {
    if (powerCut === undefined) return
    let current = log
    for (let seed = 1; seed <= TIMES; seed++) {
      for (let i = 0; i < 12; i++) await current.append([record(seed * 100 + i)])
      const [head, digest] = [current.head, await current.digestAt(current.head)]
      void current.append([record(seed * 100 + 50), record(seed * 100 + 51)]).catch(() => {})
      current = await powerCut(seed)
      check(current.head > head, 'head', current.head)
      checkBytes(await current.digestAt(head), digest, `digest at the acknowledged head, seed ${seed}`)
    }
  })

  it(
    'buffered: a kill loses nothing, a power cut leaves a prefix that holds what was synced',
    { ...SMALL, durability: 'buffered' },
    async ({ log, kill, powerCut }) => {
      for (let i = 0; i < 100; i++) await log.append([record(i)])
      let current = await kill()
      checkEqual(idsOf(await readAll(current, lsn(0))).length, 100, 'records after a kill')
      if (powerCut === undefined) return
      for (let seed = 1; seed <= TIMES; seed++) {
        for (let i = 0; i < 10; i++) await current.append([record(seed * 1000 + i)])
        if (seed % 3 === 0) await current.sync()
        for (let i = 10; i < 60; i++) await current.append([record(seed * 1000 + i)])
        const synced = current.durableHead
        const written = await chainOf(current)
        current = await powerCut(seed)
        check(current.head > synced, `what was synced is there, seed ${seed}`, current.head)
        const kept = current.head - 1n
        check(kept < BigInt(written.length), 'nothing was invented')
        checkBytes(await current.digestAt(lsn(kept)), written[Number(kept)]!, `what is there is a prefix of what was written, seed ${seed}`)
      }
    },
  )

  it('buffered: sync() is a barrier', { durability: 'buffered' }, async ({ log, powerCut }) => {
    for (let i = 0; i < 20; i++) log.submit([record(i)])
    const synced = await log.sync()
    checkEqual([synced, log.durableHead], [lsn(21), lsn(21)], 'synced through')
    if (powerCut === undefined) return
    checkEqual(idsOf(await readAll(await powerCut(3), lsn(0))).length, 20, 'records after a power cut')
  })

  t.it('closeSync writes and syncs what is queued; the next open takes an epoch', async () => {
    const { log, reopen, dispose } = await make({})
    if (log.closeSync === undefined) return dispose?.()
    for (let i = 0; i < 50; i++) log.submit([record(i)])
    log.closeSync()
    const again = await reopen()
    checkEqual(
      idsOf(await readAll(again, lsn(0))),
      Array.from({ length: 50 }, (_, i) => i),
      'records',
    )
    await again.close()
    await dispose?.()
  })
}

async function drain(iterator: AsyncIterator<unknown>): Promise<void> {
  while ((await iterator.next()).done !== true);
}
