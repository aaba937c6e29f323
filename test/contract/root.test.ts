// The root contract on every root there is.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, it } from 'vitest'

import { DirRoot, MemoryRoot } from '../../bindings/root/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { rootContract, type RootFixture } from '../../bindings/testing/index.ts'
import { fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'
import { FaultyRoot } from '../../bindings/testing/faulty-root.ts'

let count = 0

const KINDS: Record<string, () => Promise<RootFixture>> = {
  memory: async () => {
    const name = `contract-${++count}`
    return { root: new MemoryRoot({ name }), peer: async () => new MemoryRoot({ name }) }
  },
  'memory that loses what is not synced': async () => {
    const root = new MemoryRoot({ loseUnsynced: 1 })
    return { root, crash: async (seed) => root.crash(seed) }
  },
  directory: async () => {
    const path = await mkdtemp(join(tmpdir(), 'varve-root-'))
    return { root: new DirRoot(path, defaultWorld()), peer: async () => new DirRoot(path, defaultWorld()), dispose: () => rm(path, { recursive: true }) }
  },
  'directory on fake files': async () => {
    const files = new FakeFiles()
    return {
      root: new DirRoot('/data/store', fakeWorld({ files })),
      peer: async () => new DirRoot('/data/store', fakeWorld({ files, seed: 2 })),
      crash: async (seed) => new DirRoot('/data/store', fakeWorld({ files: files.image(seed) })),
      deny: async () => files.plan((call) => (call.op === 'close' ? undefined : { error: 'EACCES' })),
      files,
    }
  },
  'directory without hard links, held alone': async () => {
    const files = new FakeFiles()
    files.plan((call) => (call.op === 'link' ? { error: 'EPERM' } : undefined))
    const root = new DirRoot('/data/store', fakeWorld({ files }), { exclusive: true })
    await root.probe()
    return { root, crash: async (seed) => new DirRoot('/data/store', fakeWorld({ files: files.image(seed) })), files }
  },
}

for (const [name, make] of Object.entries(KINDS)) {
  rootContract({ describe, it }, name, make)
  rootContract(
    { describe, it },
    `${name}, behind the fault wrapper`,
    async () => {
      const fixture = await make()
      return { ...fixture, root: new FaultyRoot(fixture.root) }
    },
    { scale: 0.1 },
  )
}
