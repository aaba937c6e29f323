// kernels/load.ts: the compiled Wasm module, once per thread, and the one native helper (SHA-256) that kernels may prefer.
//
// The module is embedded as base64 (wasm.gen.ts), so importing varve looks up no file on any runtime. Compiling is synchronous and lazy; a worker is
// posted the Module of its parent and skips it. Invariant: at most one compilation per thread.
import { WASM_BASE64 } from './wasm.gen.ts'

let module: WebAssembly.Module | undefined

/** The compiled module; compiled on first use. May be posted to workers. */
export function kernelModule(): WebAssembly.Module {
  module ??= new WebAssembly.Module(decodeBase64(WASM_BASE64))
  return module
}

/** Use a module compiled by another thread. Has no effect on instances that exist. */
export function useKernelModule(compiled: WebAssembly.Module): void {
  module = compiled
}

export interface NativeHasher {
  update(bytes: Uint8Array): NativeHasher
  digest(): Uint8Array<ArrayBuffer>
}

let native: (() => NativeHasher) | null | undefined

/** Makes hashers of the host's node:crypto (hardware SHA-256); undefined where there is none. */
export function nativeSha256(): (() => NativeHasher) | undefined {
  if (native === undefined) native = findNativeSha256()
  return native ?? undefined
}

function findNativeSha256(): (() => NativeHasher) | null {
  interface CryptoHash {
    update(bytes: Uint8Array): CryptoHash
    digest(): Uint8Array
  }
  interface CryptoModule {
    createHash(name: string): CryptoHash
  }
  // Asked for at run time, so that the module loads in hosts without it.
  const host = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  const crypto = host.process?.getBuiltinModule?.('node:crypto') as CryptoModule | undefined
  if (crypto?.createHash === undefined) return null
  return () => {
    const hash = crypto.createHash('sha256')
    const hasher: NativeHasher = {
      update: (bytes) => {
        hash.update(bytes)
        return hasher
      },
      // A plain Uint8Array of its own: a Buffer compares and prints differently.
      digest: () => new Uint8Array(hash.digest()),
    }
    return hasher
  }
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
