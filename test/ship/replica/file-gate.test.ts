// The gate of files by itself: what it claims before it looks, and what it remembers over a link that lasts for months; and the records of a message that lies.
import { expect, it } from 'vitest'

import { toHex } from '../../../bindings/format/index.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import { type FileRef, VerifiedFiles } from '../../../bindings/ship/index.ts'
import { FileGate } from '../../../bindings/ship/host-files.ts'
import { walkFrames } from '../../../bindings/ship/host-walk.ts'
import { bootWorld, MemoryRoot, turns } from './kit.ts'

function fileOf(bytes: Uint8Array, generation?: number): FileRef {
  const hash = sha256(bytes)
  const hex = toHex(hash)
  return { name: `fragments/${hex.slice(0, 2)}/${hex}${generation === undefined ? '' : `.g${generation}`}.arrow`, hash, bytes: bytes.length }
}

interface Rig {
  readonly gate: FileGate
  readonly claimed: string[]
  readonly asked: string[]
  /** Names that were read. */
  readonly reads: string[]
  readonly root: MemoryRoot
}

function rig(): Rig {
  const [claimed, asked, reads]: [string[], string[], string[]] = [[], [], []]
  class Root extends MemoryRoot {
    override get(...args: Parameters<MemoryRoot['get']>): ReturnType<MemoryRoot['get']> {
      reads.push(args[0])
      return super.get(...args)
    }
  }
  const root = new Root({})
  const world = bootWorld()
  const gate = new FileGate({
    root,
    world,
    verified: new VerifiedFiles(root, world),
    ask: (_, files) => void asked.push(...files.map(({ name }) => name)),
    claim: async (name) => void claimed.push(name),
    dead: async () => undefined,
    worked: () => undefined,
  })
  return { gate, claimed, asked, reads, root }
}

it('a name whose content is on its way under another one is claimed before it is given that content', async () => {
  const { gate, claimed, asked, root } = rig()
  const bytes = new Uint8Array(100).fill(7)
  const [first, second] = [fileOf(bytes), fileOf(bytes, 2)]
  const there = [gate.ensure(1, [first])]
  await turns()
  there.push(gate.ensure(2, [second]))
  await turns()
  expect([asked, claimed]).toEqual([[first.name], [first.name, second.name]])
  await gate.piece({ type: 'fragment', hash: first.hash, offset: 0, total: bytes.length, dead: false, bytes })
  await Promise.all(there)
  for (const { name } of [first, second]) expect(root.getSync(name).bytes).toEqual(bytes)
})

// Nobody ended what was half stored: the close of the replica waited for it for ever.
it.each([true, false])('a file that is dead at its source while half of it is here is given up, and nothing of it is left (kept: %s)', async (isKept) => {
  const { gate, root } = rig()
  const bytes = new Uint8Array(5 * 1024 * 1024).fill(7)
  const file = fileOf(bytes)
  const there = gate.request(1, [file], true, isKept ? () => undefined : undefined)
  const piece = { type: 'fragment', hash: file.hash, total: bytes.length } as const
  await gate.piece({ ...piece, offset: 0, dead: false, bytes: bytes.subarray(0, 4 * 1024 * 1024) })
  await turns()
  await gate.piece({ ...piece, offset: 0, total: 0, dead: true, bytes: new Uint8Array(0) })
  await Promise.all(there)
  await gate.settled()
  expect(root.namesSync()).toEqual([])
})

it('names are remembered so that no file is read twice, and forgotten before they are too many', async () => {
  const { gate, asked, reads, root } = rig()
  const files = Array.from({ length: 4098 }, (_, i) => new Uint8Array(new Uint32Array([i]).buffer)).map((bytes) => ({ bytes, file: fileOf(bytes) }))
  for (const { bytes, file } of files) root.putSync(file.name, bytes)
  await gate.ensure(1, [files[0]!.file])
  await gate.ensure(2, [files[0]!.file])
  expect(reads.filter((name) => name === files[0]!.file.name)).toHaveLength(1)
  await gate.ensure(
    3,
    files.map(({ file }) => file),
  )
  await gate.ensure(4, [files[0]!.file])
  expect(reads.filter((name) => name === files[0]!.file.name)).toHaveLength(2)
  expect(asked).toEqual([])
})

it('a message that announces more records than its bytes can hold makes no room for them', () => {
  expect(() => walkFrames(new Uint8Array(64), 1, 2 ** 32 - 1)).toThrow(/record 1: 4294967295 records were announced, in 64 bytes/)
})
