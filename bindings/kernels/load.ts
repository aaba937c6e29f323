// kernels/load.ts: the compiled Wasm module, once per thread, and what of the host's own is preferred: SHA-256 of node:crypto, zstd of node:zlib.
//
// The module is embedded as base64 (wasm.gen.ts), so importing varve looks up no file on any runtime. Compiling is synchronous and lazy; a worker is
// posted the Module of its parent and skips it. Invariant: at most one compilation per thread.
import { InvalidConfigError } from '../errors.ts'
import { WASM_BASE64 } from './wasm.gen.ts'

let module: WebAssembly.Module | undefined

/**
 * The compiled module: post it to a worker, which then need not compile it.
 *
 * @cost compiles it at the first call of a thread
 * @example new Worker(url, { workerData: { module: kernelModule() } })
 */
export function kernelModule(): WebAssembly.Module {
  module ??= new WebAssembly.Module(decodeBase64(WASM_BASE64))
  return module
}

/**
 * Use a module compiled by another thread. Before the first call of a kernel: instances that exist keep theirs.
 *
 * @throws InvalidConfigError (key `module`) for what is no module of these kernels
 * @example useKernelModule(workerData.module)
 */
export function useKernelModule(compiled: WebAssembly.Module): void {
  if (!hasKernels(compiled)) {
    throw new InvalidConfigError('a module of the kernels is expected', {
      details: { key: 'module', value: Object.prototype.toString.call(compiled) },
      hint: 'Hand in what kernelModule() gave in another thread that runs the same version.',
    })
  }
  module = compiled
}

function hasKernels(compiled: WebAssembly.Module): boolean {
  try {
    return WebAssembly.Module.exports(compiled).some(({ name }) => name === 'arena_base')
  } catch {
    return false
  }
}

export interface NativeHasher {
  update(bytes: Uint8Array): NativeHasher
  digest(): Uint8Array<ArrayBuffer>
}

/** SHA-256 of the host, and from which size of a message on it is quicker than the kernels (docs/benchmarks.md has the figures). */
export interface NativeSha256 {
  digest(bytes: Uint8Array): Uint8Array<ArrayBuffer>
  hasher(): NativeHasher
  /** Of one message: against the scalar kernel. */
  readonly oneBytesMin: number
  /** Of each of four or more: against four lanes at once. Of fewer, lanes go unused and it is as much less. */
  readonly manyBytesMin: number
}

interface Host {
  readonly process?: { readonly getBuiltinModule?: (name: string) => unknown; readonly versions?: Readonly<Record<string, string>> }
}

interface CryptoHash {
  update(bytes: Uint8Array): CryptoHash
  digest(): Uint8Array
}

/** Node 20.12 and 21.7 have `hash`, which makes no object. */
interface CryptoModule {
  readonly createHash?: (name: string) => CryptoHash
  readonly hash?: (name: string, bytes: Uint8Array, encoding: 'buffer') => Uint8Array
}

/** Node's running hashes take less than 2 GiB at a time. */
const HASH_PIECE_BYTES = 2 ** 30

let native: NativeSha256 | null | undefined

/** SHA-256 of the host's node:crypto (hardware instructions), chosen once; undefined where there is none. */
export function nativeSha256(): NativeSha256 | undefined {
  if (native === undefined) native = findNativeSha256(globalThis as Host) ?? null
  return native ?? undefined
}

/** What a host offers: asked for at run time, so that the module loads where there is no node:crypto. */
export function findNativeSha256({ process }: Host): NativeSha256 | undefined {
  const { createHash, hash } = (process?.getBuiltinModule?.('node:crypto') ?? {}) as CryptoModule
  if (createHash === undefined) return undefined
  // A call into Bun's costs less than any kernel; elsewhere it costs as much as the kernels need for some blocks.
  const isCheap = process?.versions?.['bun'] !== undefined
  const hasher = (): NativeHasher => {
    const running = createHash('sha256')
    const self: NativeHasher = {
      update: (bytes) => {
        for (let at = 0; at < bytes.byteLength; at += HASH_PIECE_BYTES) running.update(bytes.subarray(at, at + HASH_PIECE_BYTES))
        return self
      },
      digest: () => new Uint8Array(running.digest()),
    }
    return self
  }
  // Digests are plain Uint8Arrays of their own: a Buffer compares and prints differently.
  return {
    digest: hash === undefined ? (bytes) => hasher().update(bytes).digest() : (bytes) => new Uint8Array(hash('sha256', bytes, 'buffer')),
    hasher,
    oneBytesMin: isCheap ? 0 : 256,
    manyBytesMin: isCheap ? 0 : 896,
  }
}

/** The plain bytes of one zstd frame, at most `bytesMax`. Throws an Error of the host's where the frame is damaged or holds more. */
type NativeZstd = (frame: Uint8Array, bytesMax: number) => Uint8Array

let zstd: NativeZstd | null | undefined

/** Zstd of the host's node:zlib (Node from 22.15 on, Bun, Deno); undefined where there is none. */
export function nativeZstd(): NativeZstd | undefined {
  if (zstd === undefined) zstd = findNativeZstd()
  return zstd ?? undefined
}

/** Output is made in pieces of at most this, and joined: one piece where it is enough. */
const ZSTD_PIECE_BYTES_MAX = 2 ** 24

function findNativeZstd(): NativeZstd | null {
  interface ZlibModule {
    zstdDecompressSync?(frame: Uint8Array, o: { maxOutputLength: number; chunkSize: number }): Uint8Array
  }
  const zlib = builtin('node:zlib') as ZlibModule | undefined
  if (zlib?.zstdDecompressSync === undefined) return null
  return (frame, bytesMax) => {
    const plain = zlib.zstdDecompressSync!(frame, { maxOutputLength: bytesMax, chunkSize: Math.max(64, Math.min(bytesMax, ZSTD_PIECE_BYTES_MAX)) })
    // A Buffer slices in another way than a Uint8Array.
    return new Uint8Array(plain.buffer as ArrayBuffer, plain.byteOffset, plain.byteLength)
  }
}

/** A module of the host, asked for at run time so that this one loads in hosts without it. */
function builtin(name: string): unknown {
  const host = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  return host.process?.getBuiltinModule?.(name)
}

interface Base64Host {
  readonly Uint8Array?: { readonly fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }
  readonly Buffer?: { readonly from?: (text: string, encoding: 'base64') => Uint8Array<ArrayBuffer> }
}

/** By what the host has: the language's own, Node's, or a loop over atob, which takes about as long as compiling the module. */
export function decodeBase64(text: string, host: Base64Host = globalThis as Base64Host): Uint8Array<ArrayBuffer> {
  if (host.Uint8Array?.fromBase64 !== undefined) return host.Uint8Array.fromBase64(text)
  if (host.Buffer?.from !== undefined) return host.Buffer.from(text, 'base64')
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
