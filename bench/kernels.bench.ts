// bench/kernels.bench.ts: the kernels beside what a JavaScript program would use instead: one file each in bench/kernels, its own peers within it.
//
// A record has one result per workload, size and peer; `target` is the least ratio kernels.md section 9 asks for, null where it names none.
// Invariant: kernel memory that a part placed its inputs in is given back when the part ends.
import { kernels } from '../bindings/kernels/index.ts'
import { quoteKernels } from './docs.ts'
import { aggregates } from './kernels/aggregate.ts'
import { bloom } from './kernels/bloom.ts'
import { coldStart } from './kernels/cold-start.ts'
import { coverage } from './kernels/coverage.ts'
import { checksums } from './kernels/crc32c.ts'
import { filtering } from './kernels/filter.ts'
import { joins } from './kernels/join.ts'
import { lz4 } from './kernels/lz4.ts'
import { merging } from './kernels/merge.ts'
import { groupCommit } from './kernels/group-commit.ts'
import { KernelPeers } from './kernels/peers.ts'
import { predicates } from './kernels/predicate.ts'
import { digests } from './kernels/sha256.ts'
import { type Entry, KIB, type KernelSuite, MIB } from './kernels/suite.ts'
import { walScan } from './kernels/wal-scan.ts'
import { hashing } from './kernels/xxh3.ts'
import { commit, machine, packageVersion } from './machine.ts'
import { keep, type KernelRecord, type KernelResult, rounded, showOutcome } from './report.ts'

export const PARTS: Readonly<Record<string, (suite: KernelSuite) => Promise<void>>> = {
  xxh3: hashing,
  crc32c: checksums,
  sha256: digests,
  'wal-scan': walScan,
  bloom,
  filter: filtering,
  predicate: predicates,
  coverage,
  merge: merging,
  join: joins,
  aggregate: aggregates,
  lz4,
  'group-commit': groupCommit,
  'cold-start': coldStart,
}

/** Short turns and many rounds: what else runs on the machine then hits every contender alike. */
const FULL = { rounds: 9, turnMs: 12, warmMs: 60, sizes: [64, 256, KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB] }
const QUICK = { rounds: 3, turnMs: 5, warmMs: 25, sizes: [64, 4 * KIB, MIB] }

export interface KernelRun {
  /** Parts; none = all. */
  readonly only: readonly string[]
  readonly quick: boolean
  readonly json: boolean
  readonly keep: boolean
}

export async function runKernels(o: KernelRun): Promise<void> {
  const say = (line: string): void => (o.json ? console.error(line) : console.log(line))
  const started = performance.now()
  const peers = new KernelPeers(!o.quick, say)
  const { sizes, ...times } = o.quick ? QUICK : FULL
  const entries: Entry[] = []
  const facts: Record<string, unknown> = {}
  let placed: number[] = []
  const room = (bytes: number): number => {
    const at = kernels().arena.reserve(bytes)
    placed.push(at)
    return at
  }
  const suite: KernelSuite = {
    ...times,
    isQuick: o.quick,
    sizes,
    peer: (name) => peers.load(name),
    room,
    place: (bytes) => {
      const at = room(bytes.length)
      kernels().u8.set(bytes, at)
      return at
    },
    add: (entry) => {
      entries.push(entry)
      say(`${showOutcome(entry)}${missed(entry)}`)
    },
    fact: (what, value) => {
      facts[what] = value
      say(`  ${what}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    },
  }
  for (const [part, perform] of Object.entries(PARTS)) {
    if (o.only.length > 0 && !o.only.includes(part)) continue
    await perform(suite)
    for (const at of placed) kernels().arena.release(at)
    placed = []
  }
  const results = entries.flatMap(resultsOf)
  const versions = { varve: packageVersion(new URL('../package.json', import.meta.url)), node: process.version, ...peers.versions }
  say(`${JSON.stringify(machine())}\n${JSON.stringify(versions)}\n${((performance.now() - started) / 1000).toFixed(0)} s`)
  if (o.json) console.log(JSON.stringify({ results }, undefined, 2))
  if (!o.keep) return
  const contenders = Object.fromEntries(entries.map((entry) => [entry.name, entry.contenders]))
  const record: KernelRecord = {
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    rounds: times.rounds,
    machine: machine(),
    versions,
    results,
    contenders,
    facts,
  }
  const file = keep('kernels', record)
  quoteKernels(file, record)
  say(`kept as ${file}, quoted in docs/benchmarks.md`)
}

function resultsOf({ name, unit, median, against, targets }: Entry): KernelResult[] {
  return Object.entries(against).map(([peer, ratio]) => ({ name, unit, median, peer, ratio, target: targets[peer] ?? null }))
}

function missed({ against, targets }: Entry): string {
  const short = Object.entries(targets).filter(([peer, target]) => against[peer] !== undefined && against[peer] < target)
  return short.map(([peer, target]) => `   MISSED ${rounded(target)}x ${peer}`).join('')
}
