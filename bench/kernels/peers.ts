// bench/kernels/peers.ts: the packages kernels are compared with: those of bench/package.json, installed when a whole run misses one.
//
// What is not installed, not built or does not load is left out with its reason; it never fails a run. A quick run installs nothing.
import { installPeers, isInstalled, loadPackage, versionOf } from '../peers.ts'

const PACKAGES: readonly string[] = ['hash-wasm', 'xxhash-wasm', '@node-rs/crc32', 'sse4_crc32', 'bloomfilter', 'roaring-wasm', 'lz4-wasm-nodejs']

export class KernelPeers {
  readonly versions: Record<string, string> = {}
  readonly #problem: string | undefined
  readonly #loaded = new Map<string, Promise<unknown>>()
  readonly #say: (line: string) => void

  constructor(mayInstall: boolean, say: (line: string) => void) {
    this.#say = say
    const missing = PACKAGES.filter((name) => !isInstalled(name))
    if (missing.length === 0) return
    this.#problem = mayInstall ? installPeers(missing, say) : 'not installed'
  }

  /** The package, or undefined where it cannot be had. */
  load(name: string): Promise<unknown> {
    let loading = this.#loaded.get(name)
    if (loading === undefined) {
      loading = this.#load(name)
      this.#loaded.set(name, loading)
    }
    return loading
  }

  async #load(name: string): Promise<unknown> {
    try {
      const loaded = (await loadPackage(name)) as { readonly default?: unknown } & Record<string, unknown>
      this.versions[name] = versionOf(name)
      // A CommonJS package whose exports are not seen as names has them as its default.
      return typeof loaded.default === 'object' && loaded.default !== null ? { ...loaded.default, ...loaded } : loaded
    } catch (error) {
      const reason = isInstalled(name) ? String((error as Error).message).split('\n')[0]! : (this.#problem ?? 'not installed')
      this.versions[name] = `left out: ${reason}`
      this.#say(`${name} is left out: ${reason}`)
      return undefined
    }
  }
}
