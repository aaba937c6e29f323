// What a tape makes of the files of a log: pieces within their bounds, from any LSN on, each with the digest of its end, and not hashed where a mark has it.
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'

import { HistoryUnavailableError } from '../../../bindings/errors.ts'
import { FRAME_HEADER_BYTES, frameBytes, KIND_MARK } from '../../../bindings/format/index.ts'
import { type CommitLog, lsn, type LogRecord } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { type Piece, Tape } from '../../../bindings/ship/tape.ts'
import { record } from '../../../bindings/testing/contracts/log-records.ts'
import { failure } from '../../unit/store/places.ts'
import { follow, openPrimary, openReplica } from '../log/replica-kit.ts'

const MiB = 1024 * 1024

function fat(i: number, bytes: number): LogRecord {
  return { kind: record(i).kind, payload: new Uint8Array(bytes).fill(i) }
}

/** Groups of these sizes; what is appended at once is one group. */
async function logOf(groups: readonly (readonly LogRecord[])[], segmentBytes = 16 * MiB): Promise<CommitLog> {
  const log = await openPrimary(new MemoryRoot({}), { segmentBytes })
  onTestFinished(() => log.close())
  for (const group of groups) await Promise.all(group.map((each) => log.append([each])))
  return log
}

function tapeOf(log: CommitLog): Tape {
  const tape = new Tape(log)
  onTestFinished(() => tape.close())
  return tape
}

async function piecesOf(tape: Tape, from: number, end = tape.end): Promise<Piece[]> {
  const reader = tape.reader(from)
  const pieces: Piece[] = []
  for (let piece = await reader.next(end); piece !== undefined; piece = await reader.next(end)) pieces.push(piece)
  await reader.close()
  return pieces
}

/** Record frames as the log itself hands them out, and the LSNs behind which a mark stands: between two of them, or at the head of the next segment. */
async function framesOf(log: CommitLog): Promise<{ readonly frames: Map<number, Uint8Array>; readonly marks: Set<number> }> {
  const frames = new Map<number, Uint8Array>()
  const marks = new Set<number>()
  for await (const batch of log.read(log.tail)) {
    let at = Number(batch.first)
    for (const frame of batch.frames()) frames.set(at++, frame.slice())
    const first = Number(batch.first)
    const view = new DataView(batch.bytes.buffer, batch.bytes.byteOffset)
    batch.offsets.forEach((offset, i) => {
      const end = offset + frameBytes(view.getUint32(offset + 8, true))
      if (i + 1 === batch.offsets.length || batch.bytes[end + 12] === KIND_MARK) marks.add(first + i)
    })
  }
  return { frames, marks }
}

/** Dense, within bounds, the bytes of the records and nothing else, the digest of the end. */
async function expectPieces(log: CommitLog, pieces: readonly Piece[], from: number, end: number): Promise<void> {
  const { frames } = await framesOf(log)
  let at = from
  for (const { first, last, bytes, digest } of pieces) {
    expect(first).toBe(at + 1)
    expect(last).toBeGreaterThanOrEqual(first)
    expect(last - first).toBeLessThan(1024)
    if (last > first) expect(bytes.length).toBeLessThanOrEqual(MiB)
    const own = Array.from({ length: last - at }, (_, i) => frames.get(first + i)!)
    expect(Buffer.concat(own).equals(bytes), `records ${first}..${last}`).toBe(true)
    expect(Buffer.from(digest).equals(await log.digestAt(lsn(last))), `digest at ${last}`).toBe(true)
    at = last
  }
  expect(at).toBe(end)
}

const few = (from: number, count: number): LogRecord[] => Array.from({ length: count }, (_, i) => record(from + i))

it('pieces are of at most 1,024 records and 1 MiB, unless one record is longer, and hold the records and nothing else', async () => {
  const groups = [
    few(0, 1),
    few(1, 1000),
    few(1001, 900),
    few(1901, 300),
    few(2201, 300),
    few(2501, 300),
    ...Array.from({ length: 12 }, (_, i) => [fat(i, 200_000)]),
    [fat(1, 1_500_000)],
    few(2801, 50),
    [fat(2, MiB - FRAME_HEADER_BYTES)],
    few(2851, 1024),
  ]
  for (const segmentBytes of [16 * MiB, 64 * 1024]) {
    const log = await logOf(groups, segmentBytes)
    const tape = tapeOf(log)
    await expectPieces(log, await piecesOf(tape, 0), 0, tape.end)
  }
})

it('a piece begins behind any record and ends at any end that is asked for', async () => {
  const log = await logOf([...Array.from({ length: 9 }, (_, i) => few(i * 270, 270)), [fat(7, 400_000)], few(2430, 600)])
  const tape = tapeOf(log)
  const { end } = tape
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: end - 1 }), fc.integer({ min: 1, max: end }), async (from, most) => {
      const upTo = Math.min(end, from + most)
      await expectPieces(log, await piecesOf(tape, from, upTo), from, upTo)
    }),
    { numRuns: 25 },
  )
})

it('where marks are in reach a piece ends at one, wherever it begins', async () => {
  const log = await logOf(Array.from({ length: 30 }, (_, i) => few(i * 270, 270)))
  const { marks } = await framesOf(log)
  const tape = tapeOf(log)
  // The record of the epoch, then three groups: a fourth would make more than 1,024 records between two.
  expect([...marks].slice(0, 3)).toEqual([811, 1621, 2431])
  for (const from of [0, 5, 700, 1620, 2999]) {
    const pieces = await piecesOf(tape, from)
    expect(
      pieces
        .slice(0, -1)
        .filter(({ last }) => !marks.has(last))
        .map(({ last }) => last),
    ).toEqual([])
  }
})

it('the same records are cut alike whether the end that is asked for comes in steps or at once, once the steps are a window wide', async () => {
  const log = await logOf(Array.from({ length: 30 }, (_, i) => few(i * 270, 270)))
  const tape = tapeOf(log)
  const reader = tape.reader(0)
  const ends: number[] = []
  for (let at = 0; at < tape.end;) {
    const piece = (await reader.next(Math.min(tape.end, at + 1024)))!
    ends.push((at = piece.last))
  }
  await reader.close()
  expect(ends).toEqual((await piecesOf(tape, 0)).map(({ last }) => last))
})

it('a reader whose read of the files ended goes on with what was written since, from memory or from the files', async () => {
  const log = await logOf([few(0, 700)])
  const tape = tapeOf(log)
  const reader = tape.reader(0)
  const pieces = [(await reader.next(tape.end))!]
  for (let i = 0; i < 4; i++) {
    await Promise.all(few(700 + i * 400, 400).map((each) => log.append([each])))
    for (let piece = await reader.next(tape.end); piece !== undefined; piece = await reader.next(tape.end)) pieces.push(piece)
  }
  await reader.close()
  await expectPieces(log, pieces, 0, tape.end)
})

it('of a log that was trimmed what is there is read, and what is not there is named', async () => {
  const log = await logOf(
    Array.from({ length: 40 }, (_, i) => few(i * 100, 100)),
    32 * 1024,
  )
  const tail = Number(await log.trim(lsn(2000)))
  expect(tail).toBeGreaterThan(0)
  const tape = tapeOf(log)
  await expectPieces(log, await piecesOf(tape, tail), tail, tape.end)
  const reader = tape.reader(tail - 1)
  expect(await failure(() => reader.next(tape.end))).toBeInstanceOf(HistoryUnavailableError)
  await reader.close()
})

it('of a log that was cut back amid an append, and went on, pieces follow one another too', async () => {
  const primary = await logOf([...Array.from({ length: 8 }, (_, i) => few(i * 90, 90)), few(720, 1)])
  for (let i = 0; i < 10; i++) await primary.append([record(i), record(i + 1), record(i + 2)])
  const replica = await openReplica(new MemoryRoot({}))
  onTestFinished(() => replica.close())
  await follow(primary, replica, { most: 130 })
  for (const cut of [Number(primary.head) - 2, 725, 400]) {
    await replica.truncate(cut, { checkpoints: [] })
    const cold = tapeOf(replica.current)
    await expectPieces(replica.current, await piecesOf(cold, 0), 0, cut)
    cold.close()
    await follow(primary, replica, { most: 77 })
    const whole = tapeOf(replica.current)
    await expectPieces(replica.current, await piecesOf(whole, 0), 0, Number(primary.head))
    whole.close()
  }
})
