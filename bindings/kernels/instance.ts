// kernels/instance.ts: one instance of the module: its exports, its arena and cached views of its memory.
//
// Invariant: `u8`, `u32`, `i32`, `f64` and `view` are never detached when read here; a caller that stores one across a `reserve` holds a dead view.
// One instance serves one thread. The shared one grows up to its limit; a fixed one never grows, so that views handed to pending file I/O stay alive.
import { KernelMemoryExhaustedError } from '../errors.ts'
import { Arena } from './arena.ts'
import type { ColumnExports } from './exports-columns.ts'
import type { CoreExports } from './exports-core.ts'
import type { GroupExports } from './exports-groups.ts'
import type { KeyExports } from './exports-keys.ts'
import type { RowExports } from './exports-rows.ts'
import { kernelModule } from './load.ts'

const LIMIT_BYTES = 512 * 1024 * 1024

export interface KernelExports extends CoreExports, ColumnExports, KeyExports, GroupExports, RowExports {}

export interface KernelInstanceOptions {
  /** Bound of the arena; memory grows on demand up to it. */
  readonly limitBytes?: number
  /** Size of an arena that is allocated at once and never grows; excludes `limitBytes`. */
  readonly fixedBytes?: number
}

export class KernelInstance {
  readonly exports: KernelExports
  readonly arena: Arena
  readonly memory: WebAssembly.Memory
  #u8: Uint8Array<ArrayBuffer>
  #u32: Uint32Array<ArrayBuffer>
  #i32: Int32Array<ArrayBuffer>
  #f64: Float64Array<ArrayBuffer>
  #view: DataView<ArrayBuffer>

  constructor(o: KernelInstanceOptions = {}) {
    this.exports = instantiate(o.fixedBytes ?? o.limitBytes ?? LIMIT_BYTES).exports as unknown as KernelExports
    this.memory = this.exports.memory
    this.exports.init()
    const fixed = o.fixedBytes !== undefined
    this.arena = new Arena(this.memory, this.exports.arena_base(), { limitBytes: o.fixedBytes ?? o.limitBytes ?? LIMIT_BYTES, fixed })
    const buffer = this.memory.buffer as ArrayBuffer
    this.#u8 = new Uint8Array(buffer)
    this.#u32 = new Uint32Array(buffer)
    this.#i32 = new Int32Array(buffer)
    this.#f64 = new Float64Array(buffer)
    this.#view = new DataView(buffer)
  }

  /** All of memory as bytes. */
  get u8(): Uint8Array<ArrayBuffer> {
    if (this.#u8.byteLength === 0) this.#refresh()
    return this.#u8
  }

  /** All of memory as u32; index = offset >>> 2. */
  get u32(): Uint32Array<ArrayBuffer> {
    if (this.#u32.byteLength === 0) this.#refresh()
    return this.#u32
  }

  get i32(): Int32Array<ArrayBuffer> {
    if (this.#i32.byteLength === 0) this.#refresh()
    return this.#i32
  }

  get f64(): Float64Array<ArrayBuffer> {
    if (this.#f64.byteLength === 0) this.#refresh()
    return this.#f64
  }

  get view(): DataView<ArrayBuffer> {
    // A detached DataView throws on byteLength; the byte view was made with it and tells.
    if (this.#u8.byteLength === 0) this.#refresh()
    return this.#view
  }

  /** Reserve and fill: returns the offset of the copy. */
  copyIn(bytes: Uint8Array): number {
    const offset = this.arena.reserve(bytes.byteLength)
    this.u8.set(bytes, offset)
    return offset
  }

  /** A copy of `bytes` bytes at `offset`, owned by the JavaScript heap. */
  copyOut(offset: number, bytes: number): Uint8Array<ArrayBuffer> {
    return this.u8.slice(offset, offset + bytes)
  }

  #refresh(): void {
    const buffer = this.memory.buffer as ArrayBuffer
    this.#u8 = new Uint8Array(buffer)
    this.#u32 = new Uint32Array(buffer)
    this.#i32 = new Int32Array(buffer)
    this.#f64 = new Float64Array(buffer)
    this.#view = new DataView(buffer)
  }
}

/** What the module asks for at its start (asconfig.json). */
const INITIAL_BYTES = 4 * 65_536

function instantiate(limit: number): WebAssembly.Instance {
  const module = kernelModule()
  try {
    return new WebAssembly.Instance(module, {})
  } catch (cause) {
    throw new KernelMemoryExhaustedError('kernel memory: the host has none for another instance', { details: { wanted: INITIAL_BYTES, limit }, cause })
  }
}

let shared: KernelInstance | undefined
let sharedLimitBytes = LIMIT_BYTES

/** The thread's shared instance, made on first use (arena limit 512 MiB unless limitKernels() said otherwise). */
export function kernels(): KernelInstance {
  shared ??= new KernelInstance({ limitBytes: sharedLimitBytes })
  return shared
}

/** Arena limit of this thread's shared instance, from now on; an idle one that is larger is dropped. The last caller's word counts. */
export function limitKernels(limitBytes: number): void {
  sharedLimitBytes = limitBytes
  if (shared === undefined) return
  if (shared.arena.usedBytes === 0 && shared.arena.memoryBytes > limitBytes) shared = undefined
  else shared.arena.limitTo(limitBytes)
}

/** What limitKernels() said last. */
export function kernelLimitBytes(): number {
  return sharedLimitBytes
}

/**
 * Drop the shared instance when nothing in it is in use and its memory has grown past `keepBytes`: linear memory never shrinks, so one large file would
 * otherwise be held for ever. The next `kernels()` makes a small one.
 *
 * @returns whether it was dropped
 */
export function trimKernels(keepBytes: number = 64 * 1024 * 1024): boolean {
  if (shared === undefined || shared.arena.usedBytes > 0 || shared.arena.memoryBytes <= keepBytes) return false
  shared = undefined
  return true
}
