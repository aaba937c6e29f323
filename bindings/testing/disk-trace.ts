// testing/disk-trace.ts: the operations of a fake file system with their barriers, and the states that a crash at any of them may leave.
//
// A trace is a base state and what was done since; a crash point is the state before one operation, played back. Of it the legal states are enumerated where they
// are few, else sampled by seed with strategies that are known to break programs (ALICE, Pillai et al., OSDI 2014): everything but one unit, one unit alone, a
// prefix, a suffix, names without data, data without names, sizes without data.
//
// Invariant: the same trace, operation and seed give the same state.
import { CRASH_MODEL, type CrashModel, type DiskOp, type KeepUnit, MemoryDisk, type MemoryFile, STRICT_MODEL } from '../root/index.ts'
import { seededRandom, type World } from '../runtime/index.ts'

import type { FakeFiles } from './fake-files.ts'

/** How a sampled state was made. */
export interface CrashSample {
  readonly files: FakeFiles
  readonly what: string
}

type Wrap = (disk: MemoryDisk) => FakeFiles

/** @example const trace = files.record(); ...; const after = trace.at(17).sample(1).files */
export class DiskTrace {
  readonly ops: DiskOp[] = []
  readonly #base: { readonly disk: MemoryDisk; readonly files: Map<number, MemoryFile> }
  readonly #source: MemoryDisk
  readonly #wrap: Wrap
  /** The state played back last. */
  #cursor: { readonly disk: MemoryDisk; readonly files: Map<number, MemoryFile>; next: number } | undefined

  /** @internal FakeFiles.record() */
  constructor(disk: MemoryDisk, wrap: Wrap) {
    this.#base = disk.fork()
    this.#source = disk
    this.#wrap = wrap
    disk.observer = (op) => void this.ops.push(op)
  }

  get length(): number {
    return this.ops.length
  }

  /** No more operations are kept. */
  stop(): void {
    this.#source.observer = undefined
  }

  /** The moment before operation `index` (0 .. length; at length: after the last). Cheapest in ascending order. */
  at(index: number): CrashPoint {
    if (this.#cursor === undefined || this.#cursor.next > index) {
      const { disk } = this.#base
      this.#cursor = { ...disk.fork(), next: 0 }
    }
    const cursor = this.#cursor
    while (cursor.next < index) play(cursor.disk, cursor.files, this.ops[cursor.next++]!)
    return new CrashPoint(cursor.disk, index, this.#wrap)
  }

  /** One line for an operation. */
  describe(index: number): string {
    const op = this.ops[index]
    if (op === undefined) return 'the end'
    if (op.op === 'write') return `write of ${op.bytes.length} at ${op.at} in file ${op.file}`
    if (op.op === 'names') return `${op.set.map(([name, file]) => (file === undefined ? `- ${name}` : `+ ${name} = file ${file}`)).join(', ')}`
    return Object.values(op).join(' ')
  }
}

/** What was done up to one operation. Valid until the trace is asked for another. */
export class CrashPoint {
  readonly index: number
  readonly #disk: MemoryDisk
  readonly #wrap: Wrap

  /** @internal */
  constructor(disk: MemoryDisk, index: number, wrap: Wrap) {
    this.#disk = disk
    this.index = index
    this.#wrap = wrap
  }

  /** What a crash could lose here, in order. */
  unsynced(): string[] {
    return this.#disk.unsynced()
  }

  /** After a kill of the process, the machine running on: everything is there, and what was not synced may still be lost later. */
  killed(): FakeFiles {
    return this.#wrap(this.#disk.fork().disk)
  }

  /** After a power cut that the units survive for which `keep` says so. */
  cut(keep: KeepUnit, model: CrashModel = CRASH_MODEL): FakeFiles {
    return this.#wrap(this.#disk.after(keep, model))
  }

  /** A legal state after a power cut, by seed. */
  sample(seed: number): CrashSample {
    const random = seededRandom(seed)
    const model = modelOf(random)
    const seqs = this.#seqs(model)
    const { what, keep } = strategy(random, seqs)
    return { files: this.cut(keep, model), what: `${what}, ${describeModel(model)}` }
  }

  /**
   * Every legal state, as long as there are at most `most`: `whole` says whether that was so. States may be equal in content.
   * The n-th answer of `keep` is the n-th binary digit of the state's number.
   */
  *enumerate(most: number, model: CrashModel = CRASH_MODEL): Generator<FakeFiles, { whole: boolean }> {
    let digits: boolean[] = []
    for (let n = 0; n < most; n++) {
      let asked = 0
      const given = digits
      yield this.cut(() => given[asked++] ?? false, model)
      // As an odometer: the last digit that was asked for turns first; what a turned one asks for behind it begins anew.
      const next = Array.from({ length: asked }, (_, i) => given[i] ?? false)
      while (next.length > 0 && next.at(-1) === true) next.pop()
      if (next.length === 0) return { whole: true }
      next[next.length - 1] = true
      digits = next
    }
    return { whole: false }
  }

  #seqs(model: CrashModel): number[] {
    const seqs: number[] = []
    this.#disk.after((unit) => {
      seqs.push(unit.seq)
      return true
    }, model)
    return seqs
  }
}

function modelOf(random: World['random']): CrashModel {
  if (random.u32() % 4 === 0) return STRICT_MODEL
  const coin = (): boolean => (random.u32() & 1) === 1
  return {
    unitBytes: coin() ? 512 : 4096,
    sizes: coin() ? 'apart' : 'with-data',
    renames: random.u32() % 4 === 0 ? 'apart' : 'ordered',
    holes: random.u32() % 4 === 0 ? 'stale' : 'zeros',
  }
}

function describeModel({ unitBytes, sizes, renames, holes }: CrashModel): string {
  return `units of ${unitBytes}, sizes ${sizes}, renames ${renames}, holes ${holes}`
}

function strategy(random: World['random'], seqs: readonly number[]): { what: string; keep: KeepUnit } {
  const chance = (percent: number): KeepUnit => {
    return () => random.u32() % 100 < percent
  }
  const one = seqs.length === 0 ? 0 : random.u32() % seqs.length
  const cut = [...seqs].sort((a, b) => a - b)[one] ?? 0
  let asked = 0
  switch (random.u32() % 12) {
    case 0:
      return { what: 'nothing survives', keep: () => false }
    case 1:
      return { what: 'everything survives', keep: () => true }
    case 2:
      return { what: `all but unit ${one}`, keep: () => asked++ !== one }
    case 3:
      return { what: `unit ${one} alone`, keep: () => asked++ === one }
    case 4:
      return { what: `up to operation ${cut}`, keep: ({ seq }) => seq <= cut }
    case 5:
      return { what: `from operation ${cut} on`, keep: ({ seq }) => seq >= cut }
    case 6:
      return { what: 'names without data', keep: ({ kind }) => kind === 'name' }
    case 7:
      return { what: 'names and sizes without data', keep: ({ kind }) => kind !== 'data' }
    case 8:
      return { what: 'data without names', keep: ({ kind }) => kind !== 'name' }
    case 9:
      return { what: 'nine of ten units', keep: chance(90) }
    case 10:
      return { what: 'one of ten units', keep: chance(10) }
    default:
      return { what: 'half of the units', keep: chance(50) }
  }
}

/** Performs an operation of the trace on a copy. */
function play(disk: MemoryDisk, files: Map<number, MemoryFile>, op: DiskOp): void {
  switch (op.op) {
    case 'create': {
      const file = disk.create(op.isDirectory)
      files.set(op.file, file)
      return
    }
    case 'write':
      return disk.write(files.get(op.file)!, op.at, op.bytes)
    case 'truncate':
      return disk.truncate(files.get(op.file)!, op.size)
    case 'sync':
      return disk.sync(files.get(op.file)!)
    case 'lose':
      return disk.lose(files.get(op.file)!)
    case 'syncDir':
      return disk.syncDir(op.dir)
    default: {
      const set = op.set.map(([name, file]) => [name, file === undefined ? undefined : files.get(file)!] as const)
      // The second half of a move across directories follows its first.
      disk.rename(op.dir, set, op.second ? disk.lastNames : undefined)
    }
  }
}
