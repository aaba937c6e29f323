// bench/kernels/sha256.ts: SHA-256 of one message (scalar Wasm, and what the public call takes) and of four at a time, beside node:crypto and hash-wasm.
//
// node:crypto is given both its ways: crypto.hash at one go, createHash as an object. From about 1 KiB on it has hardware instructions that no Wasm reaches.
import { createHash, hash } from 'node:crypto'

import { kernels, Sha256, sha256, sha256Many } from '../../bindings/kernels/index.ts'
import { entrant, KIB, type KernelSuite, MIB, noise, race, sizeName } from './suite.ts'

interface HashWasm {
  createSHA256(): Promise<{ init(): void; update(bytes: Uint8Array): void; digest(form: 'binary'): Uint8Array }>
}

const DIGEST_BYTES = 32
/** Message size -> least ratio of four at a time, per message. */
const TARGETS_X4: Readonly<Record<number, number>> = { 64: 4, 256: 2 }

export async function digests(suite: KernelSuite): Promise<void> {
  const peer = await ((await suite.peer('hash-wasm')) as HashWasm | undefined)?.createSHA256()
  const k = kernels()
  const out = suite.room(DIGEST_BYTES)
  for (const size of suite.sizes) {
    const bytes = noise(size, 3)
    const expected = hash('sha256', bytes)
    const isExpected = (digest: Uint8Array): boolean => Buffer.from(digest).toString('hex') === expected
    const p = suite.place(bytes)
    await race(suite, {
      name: `sha256.${sizeName(size)}`,
      unit: 'MB/s',
      amount: size / MIB,
      ours: {
        'scalar-in-memory': entrant(
          () => k.exports.sha256_digest(p, size, out),
          () => isExpected(k.u8.subarray(out, out + DIGEST_BYTES)),
        ),
        'wasm-with-copies': entrant(() => new Sha256(false).update(bytes).digest(), isExpected),
        'as-chosen': entrant(() => sha256(bytes), isExpected),
      },
      peers: {
        'hash-wasm':
          peer &&
          entrant(() => {
            peer.init()
            peer.update(bytes)
            return peer.digest('binary')
          }, isExpected),
        'crypto.hash': entrant(() => hash('sha256', bytes, 'buffer'), isExpected),
        'crypto.createHash': entrant(() => createHash('sha256').update(bytes).digest(), isExpected),
      },
      ...(size === 64 * KIB ? { targets: { 'scalar-in-memory': { 'hash-wasm': 1 } } } : {}),
    })
  }
  for (const size of suite.isQuick ? [64, 256] : [64, 128, 256, 512, KIB, 4 * KIB]) await four(suite, size)
}

/** Four messages of one size; the unit is messages. */
async function four(suite: KernelSuite, size: number): Promise<void> {
  const k = kernels()
  const messages = [1, 2, 3, 4].map((seed) => noise(size, seed))
  const expected = messages.map((message) => hash('sha256', message)).join('')
  const isExpected = (digest: Uint8Array): boolean => Buffer.from(digest).toString('hex') === expected
  const pairs = suite.room(4 * 8)
  const out = suite.room(4 * DIGEST_BYTES)
  for (const [i, message] of messages.entries()) {
    const at = suite.place(message)
    k.u32.set([at, size], (pairs >>> 2) + 2 * i)
  }
  const target = TARGETS_X4[size]
  await race(suite, {
    name: `sha256.four-of-${sizeName(size)}`,
    unit: 'messages/s',
    amount: messages.length,
    ours: {
      'in-memory': entrant(
        () => k.exports.sha256_batch(pairs, messages.length, out),
        () => isExpected(k.u8.subarray(out, out + 4 * DIGEST_BYTES)),
      ),
      'with-copies': entrant(() => sha256Many(messages), isExpected),
    },
    peers: {
      'crypto.hash': entrant(
        () => messages.map((message) => hash('sha256', message, 'buffer')),
        (digests) => isExpected(Buffer.concat(digests)),
      ),
    },
    ...(target === undefined ? {} : { targets: { 'in-memory': { 'crypto.hash': target } } }),
  })
}
