// bench/kernels/lz4.ts: LZ4 decode and encode beside lz4-wasm-nodejs (u32 length + one block) and node:zlib's deflate.
//
// JSON text of 0.9 MB is the data of kernels.md; columns of the flights, dictionary codes and noise show where each side is good. Both decode their own
// encoder's block, and each other's is checked.
import { deflateRawSync } from 'node:zlib'

import { kernels, lz4BlockDecode, lz4BlockEncode, lz4FrameDecode, lz4FrameEncode } from '../../bindings/kernels/index.ts'
import { randomOf, sample } from '../data.ts'
import { entrant, type Entrant, type KernelSuite, MIB, noise, race } from './suite.ts'

/** Input and output lead with the decoded length as u32. */
interface Lz4Wasm {
  compress(bytes: Uint8Array): Uint8Array
  decompress(sized: Uint8Array): Uint8Array
}

const JSON_BYTES = 900_000

export async function lz4(suite: KernelSuite): Promise<void> {
  const peer = (await suite.peer('lz4-wasm-nodejs')) as Lz4Wasm | undefined
  await one(suite, 'json', jsonText(), peer)
  if (suite.isQuick) return
  const flights = await sample(200_000)
  await one(suite, 'int16', bytesOf(flights.distance), peer)
  await one(suite, 'times', bytesOf(BigInt64Array.from(flights.date, BigInt)), peer)
  await one(suite, 'codes', codesOf(flights.origin), peer)
  await one(suite, 'noise', noise(MIB, 31), peer)
}

async function one(suite: KernelSuite, name: string, bytes: Uint8Array, peer: Lz4Wasm | undefined): Promise<void> {
  const k = kernels()
  const n = bytes.length
  const isSame = (made: Uint8Array): boolean => Buffer.compare(made, bytes) === 0
  // Noise does not shrink: a little room more, so that both sides have a block to decode.
  const bound = n + Math.ceil(n / 255) + 16
  const packed = lz4BlockEncode(bytes, bound)!
  const frame = lz4FrameEncode(bytes)
  const other = peer?.compress(bytes)
  suite.fact(`lz4.ratio.${name}`, {
    bytes: n,
    varve: (n / packed.length).toFixed(3),
    ...(other ? { 'lz4-wasm-nodejs': (n / (other.length - 4)).toFixed(3) } : {}),
  })
  const src = suite.place(packed)
  const dst = suite.room(n)
  await race(suite, {
    name: `lz4.decode-${name}`,
    unit: 'MB/s',
    amount: n / MIB,
    ours: {
      'in-memory': entrant(
        () => k.exports.lz4_block_decode(src, packed.length, dst, n, dst),
        (made) => made === n && isSame(k.u8.subarray(dst, dst + n)),
      ),
      'with-copies': entrant(() => lz4BlockDecode(packed, n), isSame),
      frame: entrant(() => lz4FrameDecode(frame, n), isSame),
    },
    peers: {
      'lz4-wasm-nodejs':
        peer &&
        other &&
        entrant(
          () => peer.decompress(other),
          (made) => isSame(made) && isSame(lz4BlockDecode(other.subarray(4), n)),
        ),
    },
    ...(name === 'json' ? { targets: { 'in-memory': { 'lz4-wasm-nodejs': 1.4 }, 'with-copies': { 'lz4-wasm-nodejs': 0.95 } } } : {}),
  })
  const plain = suite.place(bytes)
  const room = suite.room(bound)
  const sized = (block: Uint8Array): Uint8Array => {
    const made = new Uint8Array(block.length + 4)
    new DataView(made.buffer).setUint32(0, n, true)
    made.set(block, 4)
    return made
  }
  const isReadByPeer = (block: Uint8Array): boolean => isSame(lz4BlockDecode(block, n)) && (peer === undefined || isSame(peer.decompress(sized(block))))
  const deflate: Entrant = entrant(
    () => deflateRawSync(bytes, { level: 1 }),
    (made) => made.length > 0,
  )
  await race(suite, {
    name: `lz4.encode-${name}`,
    unit: 'MB/s',
    amount: n / MIB,
    ours: {
      'in-memory': entrant(
        () => k.exports.lz4_block_encode(plain, n, room, bound),
        (made) => made > 0 && isReadByPeer(k.u8.slice(room, room + made)),
      ),
      'with-copies': entrant(
        () => lz4BlockEncode(bytes, bound),
        (block) => block !== undefined && isReadByPeer(block),
      ),
    },
    peers: {
      'lz4-wasm-nodejs':
        peer &&
        entrant(
          () => peer.compress(bytes),
          (made) => isSame(lz4BlockDecode(made.subarray(4), n)),
        ),
      'zlib deflate 1': deflate,
    },
  })
}

/** Lines of a log as JSON: repeating names, numbers and codes that do not repeat. */
function jsonText(): Uint8Array {
  const random = randomOf(5)
  const lines: string[] = []
  for (let bytes = 0, id = 0; bytes < JSON_BYTES; id++) {
    const line = JSON.stringify({
      id,
      time: 1_700_000_000_000 + id * 137 + (random() % 100),
      user: `user-${random() % 5000}`,
      action: ['open', 'save', 'close', 'share', 'delete'][random() % 5],
      path: `/projects/${random() % 300}/files/${random() % 2000}.txt`,
      bytes: random() % 1_000_000,
      ok: random() % 20 !== 0,
    })
    lines.push(line)
    bytes += line.length + 1
  }
  return new Uint8Array(Buffer.from(lines.join('\n')).subarray(0, JSON_BYTES))
}

function codesOf(texts: readonly string[]): Uint8Array {
  const known = new Map<string, number>()
  return Uint8Array.from(texts, (text) => {
    if (!known.has(text)) known.set(text, known.size & 255)
    return known.get(text)!
  })
}

function bytesOf(values: Int16Array | BigInt64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
