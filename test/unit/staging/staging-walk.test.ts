// Walks the failpoints of a write's files, each arrival with an error, a lost answer and a crash, on each kind of root.
//
// Given what a stopped process left, then staged files have their INTENT, what has a final name is whole, and the next process leaves nothing behind.
import { describe, expect, it } from 'vitest'

import { toHex } from '../../../bindings/format/index.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import { DirRoot, type Root } from '../../../bindings/root/index.ts'
import { intentName, StagingArea, stagingPrefix } from '../../../bindings/staging/index.ts'
import { type FailpointAction, type FailpointName, fakeWorld, FaultyRoot, FP, patterned } from '../../../bindings/testing/index.ts'
import { intentOf, type Kit, KINDS, namesIn } from './kit.ts'

const FILES = [
  ['arrow', patterned(9000, 1)],
  ['arrow', patterned(5000, 4)],
  ['idx', patterned(700, 2)],
  ['keys', patterned(80, 3)],
] as const

const POINTS: readonly FailpointName[] = [
  FP.intent.write,
  FP.intent.writeAfter,
  FP.stage.beforeFile,
  FP.stage.afterFile,
  FP.stage.beforeSync,
  FP.stage.afterSync,
  FP.promote.before,
  FP.promote.betweenFiles,
  FP.promote.after,
  FP.retire.before,
  FP.retire.betweenFiles,
  FP.intent.delete,
  FP.retire.after,
]
const WRAPS: ReadonlySet<FailpointName> = new Set<FailpointName>([FP.intent.write, FP.intent.delete])

/** All phases of one write. Ends in an error, at its end, or never. */
async function write(root: Root, { world }: Kit): Promise<void> {
  const area = await StagingArea.arm(root, world, intentOf(world))
  const staged = []
  for (const [ext, bytes] of FILES) staged.push(await area.put(ext, bytes))
  await area.sync()
  await area.promote(staged)
  await area.retire()
}

/** What a stopped write left, before anybody tidies up, and after the next process did. */
async function look(root: Root, kit: Kit, isOrdered: boolean): Promise<void> {
  const isWhole = async (name: string): Promise<void> => {
    const digest = /([0-9a-f]{64})/.exec(name)?.[1]
    expect(toHex(sha256((await root.get(name)).bytes)), name).toBe(digest)
  }
  const staging = await namesIn(root, 'staging/')
  const ids = new Set(staging.map((name) => name.split('/')[1]!))
  if (isOrdered) for (const id of ids) expect(staging, 'staged files have their INTENT').toContain(intentName(id))
  for (const name of await namesIn(root)) if (!name.startsWith('staging/')) await isWhole(name)
  for (const id of ids) {
    expect(await StagingArea.adopt(root, kit.world, id).retire()).toBeUndefined()
    expect(await namesIn(root, stagingPrefix(id))).toEqual([])
  }
}

for (const [kind, make] of Object.entries(KINDS)) {
  describe(`${kind}`, () => {
    for (const point of POINTS) {
      const actions: Record<string, FailpointAction> = {
        error: { error: 'io' },
        crash: { crash: true },
        ...(WRAPS.has(point) ? { lost: { errorAfterEffect: 'io' } } : {}),
      }
      for (const [what, action] of Object.entries(actions)) {
        it(`${point}, ${what}: whole files, an INTENT before and after them, nothing left`, async () => {
          let arrivals = 0
          for (let after = 0; ; after++) {
            const kit = make(after + 1)
            const root = new FaultyRoot(kit.root, { failpoints: kit.points })
            const armed = kit.points.arm(point, { ...action, after, times: 1 })
            await Promise.race([write(root, kit).catch(() => undefined), kit.points.crashed])
            if (armed.fired === 0) break
            arrivals++
            if (kind !== 'directory') {
              await look(kit.root, make(90), true)
              continue
            }
            const next = make(90)
            for (const [files, isOrdered] of [
              [kit.files.image(after, 'all'), true],
              [kit.files.image(after), false],
            ] as const) {
              const world = fakeWorld({ seed: 91, files })
              await look(new DirRoot('/data/store', world), { ...next, world }, isOrdered)
            }
          }
          expect(arrivals, 'a write arrives here').toBeGreaterThan(0)
        })
      }
    }
  })
}
