// Frames and messages of shipping: round trips in pieces of any size, and what is refused.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  ByteReader,
  DecodeError,
  decodeManifest,
  decodeMessage,
  encodeManifest,
  encodeMessage,
  encodeShipFrame,
  type Message,
  SHIP_FRAME_BYTES_MAX,
  type ShipFrame,
  ShipFrameDecoder,
  ShipFrameError,
} from '../../../bindings/format/index.ts'
import { crc32c, sha256 } from '../../../bindings/kernels/index.ts'
import { seededRandom } from '../../../bindings/runtime/index.ts'
import { anyMessage, CHECKPOINT, EXAMPLES, fileOf } from './messages.ts'

interface Sent {
  readonly epoch: number
  readonly session: number
  readonly message: Message
}

const whole = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

function encoded({ epoch, session, message }: Sent, o: { readonly lz4?: boolean } = {}): Uint8Array {
  const { type, head, tail } = encodeMessage(message)
  return whole(encodeShipFrame({ type, epoch, session }, head, tail, o))
}

/** What comes out when the bytes arrive in these pieces. */
function decoded(bytes: Uint8Array, pieces: readonly number[] = [], decoder: ShipFrameDecoder = new ShipFrameDecoder()): Sent[] {
  const found: Sent[] = []
  const emit = ({ type, epoch, session, body }: ShipFrame): void => void found.push({ epoch, session, message: decodeMessage(type, new ByteReader(body)) })
  let at = 0
  for (const piece of pieces) {
    decoder.push(bytes.slice(at, at + piece), emit)
    at += piece
  }
  decoder.push(bytes.slice(at), emit)
  decoder.end()
  return found
}

function faultOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof ShipFrameError) return error.fault
    throw error
  }
  return 'none'
}

const sent = (message: Message, epoch = 3, session = 8): Sent => ({ epoch, session, message })
const anySent = fc.record({ epoch: fc.maxSafeNat(), session: fc.maxSafeNat(), message: anyMessage })

describe('messages', () => {
  it('has an example of every type, numbered as the page says', () => {
    expect(EXAMPLES.map((message) => encodeMessage(message).type)).toEqual(Array.from({ length: 22 }, (_, i) => i + 1))
  })

  it.each(EXAMPLES.map((message) => [message.type, message] as const))('gives %s back as it was', (_type, message) => {
    expect(decoded(encoded(sent(message)))).toEqual([sent(message)])
  })

  it('gives any message back as it was', () => {
    fc.assert(
      fc.property(anySent, (each) => void expect(decoded(encoded(each))).toEqual([each])),
      { numRuns: 400 },
    )
  })

  it('takes optional fields that are not there', () => {
    const [, reply] = EXAMPLES
    const bare = { ...reply, storeId: undefined, lineage: null, rebuildInProgress: null } as Message
    expect(decoded(encoded(sent(bare)))).toEqual([sent(bare)])
    const unknown: Message = { type: 'digestReply', lsn: 4, digest: undefined }
    expect(decoded(encoded(sent(unknown)))).toEqual([sent(unknown)])
    const look: Message = {
      type: 'hello',
      protocol: 1,
      replicaId: '',
      storeId: new Uint8Array(16),
      endpointVersion: 0,
      mandate: 0,
      decision: '',
      kind: 'observe',
    }
    expect(decoded(encoded(sent(look)))).toEqual([sent(look)])
  })

  it('takes no mandate without its decision, nor a decision without a mandate', () => {
    const [hello] = EXAMPLES
    const { type, head } = encodeMessage(hello!)
    const fields = head.subarray(32)
    const at = fields.findIndex((_, i) => fields.subarray(i, i + 16).every((byte) => byte === 0x0f))
    for (const [from, length] of [
      [at, 16],
      [at - 8, 8],
    ] as const) {
      const bytes = fields.slice()
      bytes.fill(0, from, from + length)
      expect(() => decodeMessage(type, new ByteReader(bytes))).toThrow(/^mandate (9 without|0 with) a decision/)
    }
  })

  it('sends details that JSON cannot say as nothing, not as a failure', () => {
    const circle: Record<string, unknown> = {}
    circle['self'] = circle
    const [got] = decoded(encoded(sent({ type: 'error', code: 'ship.gap', message: 'm', details: circle })))
    expect(got?.message).toEqual({ type: 'error', code: 'ship.gap', message: 'm', details: {} })
  })

  it('throws nothing but DecodeError for any bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 23 }), fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
        try {
          decodeMessage(type, new ByteReader(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError)
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('throws nothing but DecodeError for a message that was cut, lengthened or changed in one byte', () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(), fc.integer({ min: 1, max: 255 }), (message, place, change) => {
        const { type, head, tail } = encodeMessage(message)
        const body = whole([head.subarray(32), tail ?? new Uint8Array(0)])
        const at = body.length === 0 ? 0 : place % body.length
        const changed = body.slice()
        if (body.length > 0) changed[at]! ^= change
        for (const bytes of [body.slice(0, at), whole([body, new Uint8Array(1)]), changed]) {
          try {
            decodeMessage(type, new ByteReader(bytes))
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError)
          }
        }
      }),
      { numRuns: 1500 },
    )
  })

  it.each<readonly [string, Message]>([
    ['a replica id of a space', { ...EXAMPLES[0], replicaId: 'a b' } as Message],
    ['an empty replica id', { ...EXAMPLES[0], replicaId: '' } as Message],
    [
      'a lineage that goes back',
      {
        ...EXAMPLES[1],
        lineage: [
          { epoch: 2, firstLsn: 1 },
          { epoch: 1, firstLsn: 9 },
        ],
      } as Message,
    ],
    [
      'a lineage that stands still',
      {
        ...EXAMPLES[1],
        lineage: [
          { epoch: 1, firstLsn: 5 },
          { epoch: 2, firstLsn: 5 },
        ],
      } as Message,
    ],
    ['entries from LSN 0', { ...EXAMPLES[6], first: 0 } as Message],
    ['a count of entries without bytes', { ...EXAMPLES[6], bytes: new Uint8Array(0) } as Message],
    ['bytes without a count', { ...EXAMPLES[6], count: 0 } as Message],
    ['a piece past the end of its file', { ...EXAMPLES[7], total: 12 } as Message],
    ['a piece of more than 256 KiB', { ...EXAMPLES[7], offset: 0, total: 2 ** 20, bytes: new Uint8Array(256 * 1024 + 1) } as Message],
    ['an error code with a space', { ...EXAMPLES[16], code: 'a b' } as Message],
    ['a long error', { ...EXAMPLES[16], message: 'x'.repeat(70_000) } as Message],
  ])('refuses %s', (_name, message) => {
    expect(() => decoded(encoded(sent(message)))).toThrow(DecodeError)
  })

  const digest = sha256(new Uint8Array([1]))
  const good = fileOf(digest, 1)
  it.each([
    ['a path that climbs', '../../etc/passwd'],
    ['an absolute path', '/etc/passwd'],
    ['a file of the log', 'log/00000000000000000001.wal'],
    ['NODE', 'NODE'],
    ['a fragment in another folder', good.name.replace('fragments/', 'indexes/')],
    ['a fragment under another prefix', good.name.replace(/\/[0-9a-f]{2}\//, '/zz/')],
    ['a fragment of another hash', fileOf(sha256(new Uint8Array([2])), 1).name],
    ['a name with a line break', `${good.name}\n`],
    ['a checkpoint of a short number', 'checkpoints/7.ckpt'],
  ])('refuses a file that is %s', (_name, name) => {
    expect(() => decoded(encoded(sent({ type: 'want', lsn: 0, files: [{ ...good, name }] })))).toThrow(DecodeError)
  })
})

describe('frames', () => {
  it('come out whole and in order whatever the pieces they arrive in', () => {
    fc.assert(
      fc.property(
        fc.array(anySent, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 0, max: 90 }), { maxLength: 40 }),
        fc.boolean(),
        (all, pieces, lz4) => {
          expect(decoded(whole(all.map((each) => encoded(each, { lz4 }))), pieces)).toEqual(all)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('come out when every byte arrives alone', () => {
    const bytes = whole(EXAMPLES.map((message) => encoded(sent(message))))
    expect(
      decoded(
        bytes,
        Array.from(bytes, () => 1),
      ).map(({ message }) => message),
    ).toEqual(EXAMPLES)
  })

  it('N2 a frame cut at any byte is a truncated frame, and nothing of it comes out', () => {
    const bytes = encoded(sent(EXAMPLES[6]!))
    for (let cut = 1; cut < bytes.length; cut++)
      expect(
        faultOf(() => decoded(bytes.subarray(0, cut))),
        `cut at ${cut}`,
      ).toBe('truncated')
    expect(decoded(bytes.subarray(0, 0))).toEqual([])
  })

  it('N2 one changed byte anywhere is never taken for another frame', () => {
    const bytes = encoded(sent(EXAMPLES[6]!))
    for (let at = 0; at < bytes.length; at++) {
      for (const change of [1, 0x80, 0xff, 0x1b]) {
        const changed = bytes.slice()
        changed[at]! ^= change
        expect(
          faultOf(() => decoded(changed)),
          `byte ${at} ^ ${change}`,
        ).not.toBe('none')
      }
    }
  })

  it('N2 a length over the bound is refused from its four bytes, before anything is made room for', () => {
    const header = new Uint8Array(4)
    new DataView(header.buffer).setUint32(0, SHIP_FRAME_BYTES_MAX + 1, true)
    expect(SHIP_FRAME_BYTES_MAX + 1).toBe(16 * 1024 * 1024 + 65)
    expect(faultOf(() => new ShipFrameDecoder().push(header, () => undefined))).toBe('too-large')
    const small = new ShipFrameDecoder({ frameBytesMax: 100 })
    expect(faultOf(() => decoded(encoded(sent(EXAMPLES[11]!)), [], small))).toBe('too-large')
  })

  it('N2 type 99 is an unknown frame when its checksum is right, and a bad checksum whatever its type', () => {
    const { head } = encodeMessage(EXAMPLES[2]!)
    const [bytes] = encodeShipFrame({ type: 99, epoch: 1, session: 1 }, head)
    expect(faultOf(() => decoded(bytes!))).toBe('unknown')
    bytes![bytes!.length - 1]! ^= 1
    expect(faultOf(() => decoded(bytes!))).toBe('checksum')
    expect(faultOf(() => decoded(encodeShipFrame({ type: 0, epoch: 1, session: 1 }, encodeMessage(EXAMPLES[2]!).head)[0]!))).toBe('unknown')
  })

  it('refuses flags and header bytes that mean nothing, and integers past 2^53', () => {
    const forged = (change: (bytes: Uint8Array) => void): Uint8Array => {
      const bytes = encoded(sent(EXAMPLES[2]!))
      change(bytes)
      const view = new DataView(bytes.buffer)
      view.setUint32(28, crc32c(bytes.subarray(4, 24)), true)
      view.setUint32(24, crc32c(bytes.subarray(28)), true)
      return bytes
    }
    expect(faultOf(() => decoded(forged(() => undefined)))).toBe('none')
    expect(faultOf(() => decoded(forged((bytes) => (bytes[5] = 4))))).toBe('unknown')
    expect(faultOf(() => decoded(forged((bytes) => (bytes[6] = 1))))).toBe('unknown')
    expect(faultOf(() => decoded(forged((bytes) => (bytes[15] = 0x20))))).toBe('unknown')
    expect(faultOf(() => decoded(forged((bytes) => (bytes[5] = 1))))).toBe('unknown') // as a compressed frame: a block that stands for nothing
  })

  it('hands out what came before a bad frame, then throws', () => {
    const bytes = whole([encoded(sent(EXAMPLES[2]!)), encoded(sent(EXAMPLES[3]!))])
    bytes[bytes.length - 1]! ^= 1
    const found: number[] = []
    expect(faultOf(() => new ShipFrameDecoder().push(bytes, ({ type }) => void found.push(type)))).toBe('checksum')
    expect(found).toEqual([3])
  })

  it('splits a message that is longer than a frame, and puts it together again', () => {
    const bytes = new Uint8Array(40 * 1024 * 1024)
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = at >>> 12
    const entries: Message = { type: 'entries', first: 5, count: 1, committedLsn: 2, digest: sha256(bytes), base: false, bytes }
    const { type, head, tail } = encodeMessage(entries)
    const parts = encodeShipFrame({ type, epoch: 1, session: 2 }, head, tail)
    expect(parts.length).toBe(6)
    const found: Sent[] = []
    const decoder = new ShipFrameDecoder()
    for (const part of parts)
      decoder.push(part, ({ epoch, session, body }) => void found.push({ epoch, session, message: decodeMessage(type, new ByteReader(body)) }))
    decoder.end()
    const [got] = found
    expect(found.length).toBe(1)
    expect(got?.message.type === 'entries' && Buffer.compare(got.message.bytes, bytes)).toBe(0)
    // In the middle of it the connection may not end, and nothing else may come.
    const begun = new ShipFrameDecoder()
    for (const part of parts.slice(0, 2)) begun.push(part, () => expect.unreachable())
    expect(faultOf(() => begun.end())).toBe('truncated')
    expect(faultOf(() => begun.push(encoded(sent(EXAMPLES[2]!)), () => undefined))).toBe('unknown')
    const bounded = new ShipFrameDecoder({ messageBytesMax: 20 * 1024 * 1024 })
    expect(faultOf(() => parts.forEach((part) => bounded.push(part, () => undefined)))).toBe('too-large')
  })

  it('compresses where it pays and only there', () => {
    const records: Message = { ...EXAMPLES[6]!, bytes: new Uint8Array(20_000).fill(7) } as Message
    const random: Message = { ...EXAMPLES[6]!, bytes: seededRandom(1).bytes(20_000) } as Message
    expect(encoded(sent(records), { lz4: true }).length).toBeLessThan(1000)
    expect(decoded(encoded(sent(records), { lz4: true }))).toEqual([sent(records)])
    expect(encoded(sent(random), { lz4: true })).toEqual(encoded(sent(random)))
    expect(encoded(sent(EXAMPLES[2]!), { lz4: true })).toEqual(encoded(sent(EXAMPLES[2]!)))
  })

  it('leaves long bytes where they are when it encodes, and when they arrive in one piece', () => {
    const bytes = new Uint8Array(100_000).fill(3)
    const { type, head, tail } = encodeMessage({ ...EXAMPLES[7]!, offset: 0, total: 100_000, bytes } as Message)
    const parts = encodeShipFrame({ type, epoch: 1, session: 1 }, head, tail)
    expect(parts.at(-1)).toBe(bytes)
    const chunk = whole(parts)
    new ShipFrameDecoder().push(chunk, ({ body }) => expect(body.buffer).toBe(chunk.buffer))
  })
})

describe('manifests', () => {
  const digests = Array.from({ length: 5 }, (_, i) => sha256(new Uint8Array([i])))
  const manifest = {
    storeId: new Uint8Array(16).fill(4),
    baseLsn: 7,
    digest: digests[0]!,
    lineage: [{ epoch: 1, firstLsn: 1 }],
    logFrom: 5,
    logDigest: digests[1]!,
    checkpoint: CHECKPOINT,
    files: digests.map((digest, i) => fileOf(digest, i)),
  }

  it('are the same bytes whatever the order of their files, and come back sorted', () => {
    const bytes = encodeManifest(manifest)
    expect(encodeManifest({ ...manifest, files: [...manifest.files, manifest.files[2]!].toReversed() })).toEqual(bytes)
    const sorted = manifest.files.toSorted((a, b) => (a.name < b.name ? -1 : 1))
    expect(decodeManifest(bytes)).toEqual({ ...manifest, files: sorted })
    expect(sha256(encodeManifest(decodeManifest(bytes)))).toEqual(sha256(bytes))
  })

  it.each<readonly [string, Partial<typeof manifest>]>([
    ['a log that begins above the base', { logFrom: 8 }],
    ['a fragment for a checkpoint', { checkpoint: manifest.files[0]! }],
    ['the checkpoint of the base among its files', { files: [CHECKPOINT] }],
    ['a name outside of the store', { files: [{ ...manifest.files[0]!, name: '../x' }] }],
  ])('refuses %s', (_name, change) => {
    expect(() => decodeManifest(encodeManifest({ ...manifest, ...change }))).toThrow(DecodeError)
  })

  it('throws nothing but DecodeError for any change', () => {
    const bytes = encodeManifest(manifest)
    for (let at = 0; at < bytes.length; at++) expect(() => decodeManifest(bytes.subarray(0, at))).toThrow(DecodeError)
    expect(() => decodeManifest(whole([bytes, new Uint8Array(1)]))).toThrow(DecodeError)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = bytes.slice()
        changed[at]! ^= change
        try {
          decodeManifest(changed)
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError)
        }
      }),
    )
  })
})
