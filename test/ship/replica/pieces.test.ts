// Files that come over TCP in pieces, several at a time: which arrives first, or fails, or is cut off, changes nothing of what is there in the end.
import { readdirSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { FILE_PIECE_BYTES_MAX, type Message } from '../../../bindings/format/index.ts'
import { seededRandom } from '../../../bindings/runtime/index.ts'
import { TcpTransport, type FileRef } from '../../../bindings/ship/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { items, type Primary, primaryOn, RawSender, replicaOn, rowsOf, tempDirectory } from './kit.ts'

type Piece = Extract<Message, { readonly type: 'fragment' }>

const FILES = 4
const TCP = { transport: () => new TcpTransport() }

describe('files in pieces over TCP', () => {
  it.each([1, 2, 3])('are stored whole in whichever order their pieces come, one of them damaged at first (seed %i)', async (seed) => {
    const { primary, replica, place } = await pair()
    const head = Number(primary.store.lsn)
    const { from, files } = await asked(primary, replica, head)
    const large = files.filter(({ bytes }) => bytes > FILE_PIECE_BYTES_MAX)
    expect(large).toHaveLength(FILES)
    const queues: Piece[][] = []
    for (const file of files) queues.push(await piecesOf(primary, file))
    const damaged = queues[files.indexOf(large[1]!)]!.at(-1)!
    damaged.bytes[7]! ^= 1
    const random = seededRandom(seed)
    while (queues.length > 0) {
      const at = random.u32() % queues.length
      const queue = queues[at]!
      await from.send(queue.shift()!)
      if (queue.length === 0) queues.splice(at, 1)
    }
    const again = await from.next('want')
    expect(again.files.map(({ name }) => name)).toEqual([large[1]!.name])
    expect(replica.status().durable).toBe(0n)
    for (const piece of await piecesOf(primary, large[1]!)) await from.send(piece)
    await from.durable(head)
    await replica.store.refresh()
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
    expect(temporary(place)).toEqual([])
  })

  it('leave nothing behind when the link is cut amid several of them, and the next link brings all', async () => {
    const { primary, replica, place } = await pair()
    const head = Number(primary.store.lsn)
    const { from, files } = await asked(primary, replica, head)
    for (const file of files) if (file.bytes > FILE_PIECE_BYTES_MAX) await from.send((await piecesOf(primary, file))[0]!)
    await from.close()
    const whole = await RawSender.connect(TCP, replica, primary, { session: 2 })
    await whole.catchUp(replica)
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
    await replica.close()
    expect(temporary(place)).toEqual([])
  })
})

async function pair(): Promise<{ readonly primary: Primary; readonly replica: Replica; readonly place: string }> {
  const primary = await primaryOn()
  await primary.store.create(items)
  for (let i = 0; i < FILES; i++) {
    await primary.store.append(
      items,
      Array.from({ length: 40_000 }, (_, row) => ({ id: i * 40_000 + row, name: `file ${i}: a name that does not repeat ${row * 7919}` })),
    )
  }
  await primary.store.flush()
  const place = tempDirectory()
  return { primary, replica: await replicaOn(TCP, place, { endpoint: { data: '127.0.0.1:0', version: 1 } }), place }
}

/** The replica has all records, and has asked for their files. */
async function asked(primary: Primary, replica: Replica, head: number): Promise<{ readonly from: RawSender; readonly files: readonly FileRef[] }> {
  const from = await RawSender.connect(TCP, replica, primary, { session: 1, serves: false })
  await from.hello()
  await from.grant(0, { committedLsn: head })
  await from.entries(0, head, { committedLsn: head, most: 1000 })
  return { from, files: (await from.next('want')).files }
}

async function piecesOf(primary: Primary, { name, hash }: FileRef): Promise<Piece[]> {
  const bytes = (await primary.root.get(name)).bytes.slice()
  const pieces: Piece[] = []
  for (let offset = 0; offset < bytes.length; offset += FILE_PIECE_BYTES_MAX) {
    pieces.push({ type: 'fragment', hash, offset, total: bytes.length, dead: false, bytes: bytes.subarray(offset, offset + FILE_PIECE_BYTES_MAX) })
  }
  return pieces
}

function temporary(place: string): string[] {
  return readdirSync(place, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp'))
}
