// vectors/run.ts: runs every vector of this folder through the functions of `varve/kernels`: in the tests on the sources, and on each runtime on the packed package,
// into whose project this folder and bytes.ts are copied.
//
// A file of vectors (*.json) says what it holds, so that one more file is run everywhere without a change here:
//   source      where the values were published
//   calls       names of functions of `varve/kernels`, each called with (bytes, ...arguments); or of SHAPES below
//   arguments   one list for each result of a vector (default: one, empty); "5n" is a bigint
//   vectors     [input, result, ...]. An input is a number (so many bytes of xxHash's sanity buffer) or one of Input; a result is hex, an Input that it equals, or
//               { "error": the code of the error }
import { readdirSync, readFileSync } from 'node:fs'

import { sanityBuffer } from '../bytes.ts'
import { sampleText } from './text.ts'

type Input =
  | number
  | { readonly utf8: string }
  | { readonly hex: string }
  | { readonly byte: number; readonly times: number }
  | { readonly text: number }
  | { readonly file: string; readonly flippedBit?: number }

interface Failure {
  readonly error: string
}

interface VectorFile {
  readonly source: string
  readonly calls: readonly string[]
  readonly arguments?: readonly (readonly unknown[])[]
  readonly vectors: readonly (readonly [Input, ...(string | Input | Failure)[]])[]
}

type Kernel = (bytes: Uint8Array, ...more: unknown[]) => unknown
export type Kernels = Readonly<Record<string, unknown>>

export interface Outcome {
  /** The JSON files. */
  readonly files: readonly string[]
  /** Samples that vectors name. */
  readonly samples: readonly string[]
  /** Results compared, by call. */
  readonly compared: Readonly<Record<string, number>>
  /** What came out different, or threw. */
  readonly wrong: readonly string[]
}

interface Hasher {
  update(bytes: Uint8Array): Hasher
  digest(): Uint8Array
}

/** Kernels that are not called with one array of bytes. */
const SHAPES: Readonly<Record<string, (kernels: Kernels) => Kernel>> = {
  /** Streamed in three parts. */
  Sha256: ({ Sha256 }) => {
    const make = Sha256 as new () => Hasher
    return (bytes) => {
      const cuts = [Math.floor(bytes.length / 3), Math.floor(bytes.length / 2)] as const
      return new make()
        .update(bytes.subarray(0, cuts[0]))
        .update(bytes.subarray(...cuts))
        .update(bytes.subarray(cuts[1]))
        .digest()
    }
  },
  /** A filter of so many blocks over the XXH64 of words, as a Parquet file holds it. */
  parquetBloom: ({ BloomFilter, encodeParquetBloom, xxh64 }) => {
    const filters = BloomFilter as { buildWithBlocks(hashes: Uint32Array, blocks: number): unknown }
    const hash = xxh64 as (bytes: Uint8Array) => { readonly lo: number; readonly hi: number }
    return (bytes, blocks) => {
      const words = new TextDecoder().decode(bytes).split(' ')
      const hashes = Uint32Array.from(
        words.flatMap((word) => {
          const { lo, hi } = hash(new TextEncoder().encode(word))
          return [lo, hi]
        }),
      )
      return (encodeParquetBloom as (filter: unknown) => Uint8Array)(filters.buildWithBlocks(hashes, blocks as number))
    }
  },
  /** In each of four lanes, beside shorter and longer messages. */
  sha256Many: ({ sha256Many }) => {
    const many = sha256Many as (messages: readonly Uint8Array[]) => Uint8Array
    return (bytes) => {
      const digests = [0, 1, 2, 3].map((lane) => {
        const others = [sanityBuffer(10), sanityBuffer(64), sanityBuffer(200)]
        return hexOf(many([...others.slice(0, lane), bytes, ...others.slice(lane)]).subarray(32 * lane, 32 * lane + 32))
      })
      return digests.every((digest) => digest === digests[0]) ? bytesOf({ hex: digests[0]! }, '') : `lanes differ: ${digests.join(' ')}`
    }
  },
}

/** @param folder  ends in a slash @throws when a file is no file of vectors, or names a function that is not there */
export function runVectors(kernels: Kernels, folder: URL): Outcome {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json')).toSorted() // prettier-ignore
  const samples = new Set<string>()
  const compared: Record<string, number> = {}
  const wrong: string[] = []
  const read = (input: Input): Uint8Array => {
    if (typeof input === 'object' && 'file' in input) samples.add(input.file)
    return bytesOf(input, folder)
  }
  for (const file of files) {
    const { calls, arguments: lists = [[]], vectors } = JSON.parse(readFileSync(new URL(file, folder), 'utf8'), bigints) as Partial<VectorFile>
    if (calls === undefined || vectors === undefined || vectors.length === 0) throw new Error(`${file} does not say what it calls, or with what: see run.ts`)
    for (const call of calls) {
      const kernel = SHAPES[call]?.(kernels) ?? (kernels[call] as Kernel | undefined)
      if (typeof kernel !== 'function') throw new Error(`${file}: varve/kernels has no function ${call}`)
      for (const [input, ...results] of vectors) {
        if (results.length !== lists.length)
          throw new Error(`${file}: ${JSON.stringify(input)} has ${results.length} results; there are ${lists.length} lists of arguments`)
        const bytes = read(input)
        results.forEach((result, i) => {
          const expected = typeof result === 'string' ? result : typeof result === 'object' && 'error' in result ? result.error : hexOf(read(result))
          const seen = outcomeOf(() => kernel(bytes, ...lists[i]!))
          if (seen !== expected) wrong.push(`${file}: ${call}(${JSON.stringify(input)}, result ${i}): ${seen.slice(0, 200)} is not ${expected.slice(0, 200)}`)
          compared[call] = (compared[call] ?? 0) + 1
        })
      }
    }
  }
  return { files, samples: [...samples].toSorted(), compared, wrong }
}

/** The vectors of one file whose calls take no further arguments: bytes and the result in hex. */
export function vectorsOf(file: string, folder: URL = new URL('.', import.meta.url)): readonly (readonly [Uint8Array, string])[] {
  const { vectors } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as VectorFile
  return vectors.map(([input, result]) => [bytesOf(input, folder), result as string])
}

function bytesOf(input: Input, folder: URL | ''): Uint8Array {
  if (typeof input === 'number') return sanityBuffer(input)
  if ('utf8' in input) return new TextEncoder().encode(input.utf8)
  if ('hex' in input) return Uint8Array.from({ length: input.hex.length / 2 }, (_, i) => Number.parseInt(input.hex.slice(2 * i, 2 * i + 2), 16))
  if ('byte' in input) return new Uint8Array(input.times).fill(input.byte)
  if ('text' in input) return sampleText(input.text)
  const bytes = new Uint8Array(readFileSync(new URL(input.file, folder)))
  if (input.flippedBit !== undefined) bytes[input.flippedBit >>> 3]! ^= 1 << (input.flippedBit & 7)
  return bytes
}

/** A number is 32 bits, a bigint or a pair of words 64. */
function outcomeOf(call: () => unknown): string {
  let result: unknown
  try {
    result = call()
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
  if (result instanceof Uint8Array) return hexOf(result)
  if (typeof result === 'number') return result.toString(16).padStart(8, '0')
  if (typeof result === 'bigint') return result.toString(16).padStart(16, '0')
  const { lo, hi } = (typeof result === 'object' && result !== null ? result : {}) as { lo?: number; hi?: number }
  return lo === undefined || hi === undefined ? String(result) : [hi, lo].map((word) => word.toString(16).padStart(8, '0')).join('')
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function bigints(_key: string, value: unknown): unknown {
  return typeof value === 'string' && /^\d+n$/.test(value) ? BigInt(value.slice(0, -1)) : value
}
