// oracles/lz4-wasm.ts: the npm package lz4-wasm (u32 length + one LZ4 block) as a peer. It is made for bundlers: its Wasm is instantiated by hand here.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

interface Peer {
  encodeBlock(bytes: Uint8Array): Uint8Array
  decodeBlock(block: Uint8Array, length: number): Uint8Array
}

interface PeerExports {
  readonly memory: WebAssembly.Memory
  readonly compress: (retptr: number, p: number, n: number) => void
  readonly decompress: (retptr: number, p: number, n: number) => void
  __wbindgen_add_to_stack_pointer(n: number): number
  __wbindgen_malloc(n: number): number
  __wbindgen_free(p: number, n: number): void
}

let peer: Promise<Peer> | undefined

export function lz4Wasm(): Promise<Peer> {
  peer ??= load()
  return peer
}

async function load(): Promise<Peer> {
  const path = createRequire(import.meta.url).resolve('lz4-wasm/lz4_wasm_bg.wasm')
  const module = await WebAssembly.compile(readFileSync(path))
  const imports: Record<string, Record<string, () => never>> = {}
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {}
    imports[from][name] = () => {
      throw new Error(`lz4-wasm called ${name}`)
    }
  }
  const wasm = (await WebAssembly.instantiate(module, imports)).exports as unknown as PeerExports
  const call = (run: PeerExports['compress'], bytes: Uint8Array): Uint8Array => {
    const result = wasm.__wbindgen_add_to_stack_pointer(-16)
    const p = wasm.__wbindgen_malloc(bytes.length)
    new Uint8Array(wasm.memory.buffer).set(bytes, p)
    run(result, p, bytes.length)
    const [out, n] = new Uint32Array(wasm.memory.buffer, result, 2)
    const copy = new Uint8Array(wasm.memory.buffer).slice(out, out! + n!)
    wasm.__wbindgen_free(out!, n!)
    wasm.__wbindgen_add_to_stack_pointer(16)
    return copy
  }
  return {
    encodeBlock: (bytes) => call(wasm.compress, bytes).subarray(4),
    decodeBlock: (block, length) => {
      const sized = new Uint8Array(block.length + 4)
      new DataView(sized.buffer).setUint32(0, length, true)
      sized.set(block, 4)
      return call(wasm.decompress, sized)
    },
  }
}
