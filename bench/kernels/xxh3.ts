// bench/kernels/xxh3.ts: XXH3-64 of one input beside hash-wasm's XXH3, xxhash-wasm's XXH64 (another hash of the same width) and, for scale, zlib.crc32.
import { crc32 } from 'node:zlib'

import { kernels, xxh3, xxh3BigInt } from '../../bindings/kernels/index.ts'
import { entrant, KIB, type KernelSuite, MIB, noise, race, sizeName } from './suite.ts'

interface HashWasm {
  createXXHash3(seedLow?: number, seedHigh?: number): Promise<{ init(): void; update(bytes: Uint8Array): void; digest(form: 'binary'): Uint8Array }>
}
interface XxhashWasm {
  default(): Promise<{ h64Raw(bytes: Uint8Array): bigint }>
}

export async function hashing(suite: KernelSuite): Promise<void> {
  const hashWasm = (await suite.peer('hash-wasm')) as HashWasm | undefined
  const xxhashWasm = (await suite.peer('xxhash-wasm')) as XxhashWasm | undefined
  const xxh3Peer = await hashWasm?.createXXHash3()
  const xxh64Peer = await xxhashWasm?.default()
  const k = kernels()
  const out = suite.room(8)
  for (const size of suite.sizes) {
    const bytes = noise(size, 1)
    const expected = xxh3BigInt(bytes)
    const p = suite.place(bytes)
    const other = xxh64Peer?.h64Raw(bytes)
    const sum = crc32(bytes)
    const isTargeted = size >= 4 * KIB && size <= MIB
    await race(suite, {
      name: `xxh3.${sizeName(size)}`,
      unit: 'MB/s',
      amount: size / MIB,
      ours: {
        'in-memory': entrant(
          () => k.exports.xxh3(p, size, 0, 0, out),
          () => k.view.getBigUint64(out, true) === expected,
        ),
        'with-copies': entrant(
          () => xxh3(bytes),
          ({ lo, hi }) => (BigInt(hi) << 32n) + BigInt(lo) === expected,
        ),
      },
      peers: {
        'hash-wasm':
          xxh3Peer &&
          entrant(
            () => {
              xxh3Peer.init()
              xxh3Peer.update(bytes)
              return xxh3Peer.digest('binary')
            },
            (digest) => BigInt(`0x${Buffer.from(digest).toString('hex')}`) === expected,
          ),
        'xxhash-wasm':
          xxh64Peer &&
          entrant(
            () => xxh64Peer.h64Raw(bytes),
            (hash) => hash === other,
          ),
        'zlib.crc32': entrant(
          () => crc32(bytes),
          (value) => value === sum,
        ),
      },
      ...(isTargeted ? { targets: { 'in-memory': { 'hash-wasm': 2.3, 'xxhash-wasm': 1.4 } } } : {}),
    })
  }
}
