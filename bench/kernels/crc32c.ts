// bench/kernels/crc32c.ts: CRC-32C of one input beside @node-rs/crc32 and sse4_crc32 (both the processor's crc32 instruction) and hash-wasm (tables in Wasm).
//
// zlib.crc32 takes part for scale only: it is another polynomial, with carry-less multiplication.
import { crc32 } from 'node:zlib'

import { crc32c, kernels } from '../../bindings/kernels/index.ts'
import { entrant, KIB, type KernelSuite, MIB, noise, race, sizeName } from './suite.ts'

interface HashWasm {
  createCRC32(polynomial: number): Promise<{ init(): void; update(bytes: Uint8Array): void; digest(form: 'binary'): Uint8Array }>
}
interface NodeRs {
  crc32c(bytes: Uint8Array): number
}
interface Sse4 {
  calculate(bytes: Buffer, previous: number): number
}

const CASTAGNOLI = 0x82f63b78

export async function checksums(suite: KernelSuite): Promise<void> {
  const tables = await ((await suite.peer('hash-wasm')) as HashWasm | undefined)?.createCRC32(CASTAGNOLI)
  const nodeRs = (await suite.peer('@node-rs/crc32')) as NodeRs | undefined
  const sse4 = (await suite.peer('sse4_crc32')) as Sse4 | undefined
  const k = kernels()
  for (const size of suite.sizes) {
    const bytes = noise(size, 2)
    const buffer = Buffer.from(bytes.buffer, 0, size)
    const expected = bitwise(bytes)
    const p = suite.place(bytes)
    const sum = crc32(bytes)
    const isExpected = (value: number): boolean => value >>> 0 === expected
    await race(suite, {
      name: `crc32c.${sizeName(size)}`,
      unit: 'MB/s',
      amount: size / MIB,
      ours: { 'in-memory': entrant(() => k.exports.crc32c(0, p, size), isExpected), 'with-copies': entrant(() => crc32c(bytes), isExpected) },
      peers: {
        '@node-rs/crc32': nodeRs && entrant(() => nodeRs.crc32c(buffer), isExpected),
        sse4_crc32: sse4 && entrant(() => sse4.calculate(buffer, 0), isExpected),
        'hash-wasm':
          tables &&
          entrant(
            () => {
              tables.init()
              tables.update(bytes)
              return tables.digest('binary')
            },
            (digest) => Buffer.from(digest).readUInt32BE() === expected,
          ),
        'zlib.crc32': entrant(
          () => crc32(bytes),
          (value) => value === sum,
        ),
      },
      ...targetsOf(size),
    })
  }
}

function targetsOf(size: number): { targets: Record<string, Record<string, number>> } | undefined {
  if (size === MIB) return { targets: { 'in-memory': { '@node-rs/crc32': 2.5, sse4_crc32: 1.5 } } }
  return size === 4 * KIB ? { targets: { 'in-memory': { 'hash-wasm': 1.3 } } } : undefined
}

function bitwise(bytes: Uint8Array): number {
  let c = ~0
  for (const byte of bytes) {
    c ^= byte
    for (let i = 0; i < 8; i++) c = (c >>> 1) ^ (CASTAGNOLI & -(c & 1))
  }
  return ~c >>> 0
}
