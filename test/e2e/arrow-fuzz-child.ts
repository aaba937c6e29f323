// A process that reads damaged Arrow, so that its memory can be told from anything else's: `corpus`, or `mutate <seed> <inputs>`. Prints one line of JSON.
import { zstdDecompressSync } from 'node:zlib'
import * as flechette from '@uwdata/flechette'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { decodeLz4Frame } from '../../bindings/cli/formats/arrow-codecs.ts'
import type { AnyTable } from '../../bindings/index.ts'
import { definitionOf, fragmentRows, type Outcome, rowsOf, storedRows } from '../arrow/attempt.ts'
import { fuzzCorpus, GOLDEN, golden } from '../arrow/golden.ts'
import { below, mutated } from '../arrow/mutate.ts'

interface Failure {
  readonly input: string
  readonly error: string
}

const counts: Record<string, number> = {}
const failures: Failure[] = []
let worst = { input: '', bytes: 0, extra: 0 }

function count(outcome: Outcome): void {
  const name = typeof outcome === 'number' ? 'rows' : outcome
  counts[name] = (counts[name] ?? 0) + 1
}

/** Runs what reads one input; what it throws is a failure, and what it allocates is measured. */
async function attempt(input: string, bytes: Uint8Array, read: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage().arrayBuffers
  try {
    await read()
  } catch (error) {
    failures.push({ input, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
  const extra = process.memoryUsage().arrayBuffers - before
  if (extra > worst.extra) worst = { input, bytes: bytes.length, extra }
}

const { CompressionType, setCompressionCodec, tableFromIPC } = flechette
setCompressionCodec(CompressionType.LZ4_FRAME, { encode: nothing, decode: decodeLz4Frame })
setCompressionCodec(CompressionType.ZSTD, { encode: nothing, decode: (bytes) => new Uint8Array(zstdDecompressSync(bytes)) })

function nothing(): never {
  throw new Error('nothing is written here')
}

/** The values that came out are those that another library finds in the input. */
function agrees(bytes: Uint8Array, ipc: Uint8Array): void {
  const options = { useBigInt: true, useDecimalInt: true }
  const theirs = tableFromIPC(bytes, options)
  const ours = tableFromIPC(ipc, options)
  for (const name of ours.names) {
    const texts = [ours, theirs].map((table) => Array.from(table.getChild(name) as Iterable<unknown>, show))
    const row = texts[0]!.findIndex((text, i) => text !== texts[1]![i])
    if (row >= 0 || texts[0]!.length !== texts[1]!.length) throw new Error(`column ${name} row ${row}: ${texts[0]![row]} is not ${texts[1]![row]}`)
  }
}

function show(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'bigint' ? `${inner}n` : ArrayBuffer.isView(inner) ? Array.from(inner as Uint8Array, String) : inner,
  )
}

async function readAll(bytes: Uint8Array, known: AnyTable | undefined, everything: boolean, check?: (ipc: Uint8Array) => void): Promise<void> {
  const own = definitionOf(bytes)
  count(fragmentRows(bytes))
  if (typeof own === 'string') count(own)
  for (const target of [typeof own === 'string' ? undefined : own, known]) {
    if (target === undefined) continue
    const whole = await rowsOf(target, bytes)
    count(whole)
    if (!everything) continue
    count(await rowsOf(target, bytes, 333))
    const stored = await storedRows(target, bytes, check)
    count(stored)
    if (stored !== whole) throw new Error(`${whole} as rows, ${stored} in a store`)
  }
}

const goldenBytes = GOLDEN.flatMap((name) => {
  const { file, stream } = golden(name)
  return [
    { name: `${name} file`, bytes: file },
    { name: `${name} stream`, bytes: stream },
  ]
})
// Everything has run once before memory counts.
for (const { bytes } of goldenBytes) await readAll(bytes, undefined, true)
const peak = (): number => process.resourceUsage().maxRSS * 1024
const startBytes = peak()
for (const name of Object.keys(counts)) delete counts[name]
worst = { input: '', bytes: 0, extra: 0 }

const [mode, seedText, inputsText] = process.argv.slice(2)
let inputs = 0
if (mode === 'corpus') {
  for (const { name, bytes } of fuzzCorpus()) {
    inputs++
    await attempt(name, bytes, () => readAll(bytes, undefined, true, (ipc) => agrees(bytes, ipc)))
  }
} else {
  const random = seededRandom(Number(seedText))
  const bases = [...goldenBytes, ...fuzzCorpus()].map(({ name, bytes }) => ({ name, bytes, target: definitionOf(bytes) }))
  for (inputs = 0; inputs < Number(inputsText); inputs++) {
    const base = bases[below(random, bases.length)]!
    const bytes = mutated(base.bytes, bases[below(random, bases.length)]!.bytes, random)
    const known = typeof base.target === 'string' ? undefined : base.target
    await attempt(`input ${inputs}, from ${base.name}`, bytes, () => readAll(bytes, known, inputs % 16 === 0))
  }
}
console.log(JSON.stringify({ inputs, counts, failures: failures.slice(0, 20), worst, startBytes, peakBytes: peak() }))
