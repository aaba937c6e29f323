// What tests of staged files need: intents, roots of each kind, and a look at what is there.
import { type Intent, MAIN_BRANCH, MAIN_BRANCH_ID } from '../../../bindings/format/index.ts'
import { DirRoot, MemoryRoot, type Root, type RootCaps } from '../../../bindings/root/index.ts'
import { FailpointRegistry, newUlid, type World } from '../../../bindings/runtime/index.ts'
import { FakeClock, FakeFiles, fakeWorld } from '../../../bindings/testing/index.ts'

export interface Kit {
  readonly root: Root
  readonly world: World
  readonly points: FailpointRegistry
  readonly time: FakeClock
  readonly files: FakeFiles
}

function world(seed: number): Omit<Kit, 'root'> {
  const time = new FakeClock()
  const points = new FailpointRegistry(time.timers, { seed })
  const files = new FakeFiles()
  return { world: fakeWorld({ seed, clock: time, failpoints: points, files }), points, time, files }
}

/** As an object store has it: no links, no folders, no segments. */
export class ObjectRoot extends MemoryRoot {
  override readonly caps: RootCaps = { ...new MemoryRoot().caps, hardLink: false, segments: false, syncDir: false, syncRead: false }
  override link(): Promise<never> {
    throw new Error('no hard links here')
  }
  override async syncDir(): Promise<never> {
    throw new Error('no directories here')
  }
}

export const KINDS: Readonly<Record<string, (seed?: number) => Kit>> = {
  memory: (seed = 1) => ({ ...world(seed), root: new MemoryRoot({ loseUnsynced: seed }) }),
  directory: (seed = 1) => {
    const made = world(seed)
    return { ...made, root: new DirRoot('/data/store', made.world) }
  },
  'object store': (seed = 1) => ({ ...world(seed), root: new ObjectRoot() }),
}

export function intentOf(world: World, o: Partial<Intent> = {}): Intent {
  return {
    schemaVersion: 1,
    writeId: newUlid(world),
    kind: 'load',
    mode: 'auto',
    branch: MAIN_BRANCH,
    branchId: MAIN_BRANCH_ID,
    baseLsn: '7',
    schemaDigest: 'ab'.repeat(32),
    owner: { writerId: newUlid(world), epoch: '1' },
    createdAt: '2026-01-01T00:00:00.000Z',
    participants: [],
    registrations: [],
    tombstones: [],
    nonce: Array.from(world.random.bytes(16), (byte) => byte.toString(16).padStart(2, '0')).join(''),
    ...o,
  }
}

export async function namesIn(root: Root, prefix = ''): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list(prefix)) names.push(name)
  return names
}
