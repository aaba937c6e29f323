// bench/engine/failpoints.ts: what an unarmed failpoint costs: alone, beside the smallest call that one sits in, and in a commit.
//
// The call is the write of a one-row group into an allocated segment, which is what `log.beforeWrite` stands before; with and without the site, in turns.
// Processor time: what else the machine does is not the site's.
import { join } from 'node:path'

import { Store, t, table } from '../../bindings/index.ts'
import { type Failpoints, FailpointRegistry, type FileHandle, FP, NO_FAILPOINTS, nodeFiles } from '../../bindings/runtime/index.ts'
import { contest, type Turn, verify } from '../contest.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { Suite } from '../suite.ts'

const GROUP_BYTES = 112
const SEGMENT_BYTES = 1 << 20
const SITES = 20_000_000
const CALLS = 256
const COMMITS = 200

export async function failpoints(suite: Suite): Promise<void> {
  const siteNs = medianOf(Array.from({ length: suite.sizes.rounds * 2 + 1 }, alone))
  suite.fact('failpoint.site', `${rounded(siteNs)} ns a site that is not armed`)
  const file = await nodeFiles.open(join(freshFolder(), 'segment'), 'wx')
  file.writeSync(0, new Uint8Array(SEGMENT_BYTES))
  const withSite = new Writer(file, { failpoints: NO_FAILPOINTS })
  const without = new Bare(file)
  // Many short turns: the difference is far below what a busy machine moves in a second.
  const ms = suite.sizes.turnMs / 10
  const rounds = suite.sizes.rounds * 5
  for (const writer of [withSite, without]) await repeat(writer, ms)
  suite.add(
    await contest('failpoint-write', 'writes/s', rounds, [
      { name: 'varve', turn: () => repeat(withSite, ms) },
      { name: 'without-site', turn: () => repeat(without, ms) },
    ]),
  )
  const { ms: spent, operations } = await repeat(without, ms)
  suite.fact('failpoint.site-beside-write', `${rounded((siteNs / ((spent / operations) * 1e6)) * 100)} % of the write it stands before`)
  await file.close()
  const { sites, commitNs } = await inCommit()
  suite.fact('failpoint.site-in-commit', `${rounded(sites)} sites, ${rounded(((siteNs * sites) / commitNs) * 100)} % of a commit of one row`)
}

/** Nanoseconds a site, both kinds of registry in turn, so that neither can be taken for a constant; an empty loop is taken off. */
function alone(): number {
  const worlds: readonly { readonly failpoints: Failpoints }[] = [{ failpoints: NO_FAILPOINTS }, { failpoints: new FailpointRegistry() }]
  const sites = worlds.map((world) => new Site(world))
  let passed = 0
  const started = process.threadCpuUsage()
  for (let i = 0; i < SITES; i++) passed += sites[i & 1]!.pass()
  const between = process.threadCpuUsage(started)
  for (let i = 0; i < SITES; i++) passed += sites[i & 1]!.nothing()
  const both = process.threadCpuUsage(started)
  verify(passed === 2 * SITES, 'sites passed')
  return Math.max(0, ((2 * between.user - both.user) / SITES) * 1000)
}

class Site {
  readonly #world: { readonly failpoints: Failpoints }

  constructor(world: { readonly failpoints: Failpoints }) {
    this.#world = world
  }

  pass(): number {
    if (this.#world.failpoints.active) this.#world.failpoints.hitSync(FP.log.beforeWrite, {})
    return 1
  }

  nothing(): number {
    return 1
  }
}

class Writer {
  readonly #file: FileHandle
  readonly #world: { readonly failpoints: Failpoints }
  readonly #bytes = new Uint8Array(GROUP_BYTES)

  constructor(file: FileHandle, world: { readonly failpoints: Failpoints }) {
    this.#file = file
    this.#world = world
  }

  write(at: number): void {
    if (this.#world.failpoints.active) this.#world.failpoints.hitSync(FP.log.beforeWrite, { at })
    this.#file.writeSync(at, this.#bytes)
  }
}

class Bare {
  readonly #file: FileHandle
  readonly #bytes = new Uint8Array(GROUP_BYTES)

  constructor(file: FileHandle) {
    this.#file = file
  }

  write(at: number): void {
    this.#file.writeSync(at, this.#bytes)
  }
}

async function repeat(writer: Writer | Bare, ms: number): Promise<Turn> {
  const started = process.threadCpuUsage()
  for (let n = CALLS; ; n += CALLS) {
    for (let i = 0; i < CALLS; i++) writer.write(((n + i) * GROUP_BYTES) % (SEGMENT_BYTES - GROUP_BYTES))
    const { user, system } = process.threadCpuUsage(started)
    const spent = (user + system) / 1000
    if (spent >= ms) return { ms: spent, operations: n }
  }
}

/** How many sites a commit of one row passes, counted by a registry; and what such a commit takes without one. */
async function inCommit(): Promise<{ sites: number; commitNs: number }> {
  const docs = table('docs', { id: t.int32(), body: t.utf8() }, { key: ['id'] })
  const points = new FailpointRegistry()
  let sites = 0
  let commitNs = 0
  for (const failpointsOfRun of [points, NO_FAILPOINTS]) {
    const store = await Store.open(freshFolder(), { world: { failpoints: failpointsOfRun }, threads: 0 })
    await store.create(docs)
    await store.upsert(docs, { id: -1, body: '' })
    const seen = failpointsOfRun === points ? points.count() : undefined
    const before = total(seen)
    const started = performance.now()
    for (let id = 0; id < COMMITS; id++) await store.upsert(docs, { id, body: `row ${id}` })
    if (seen === undefined) commitNs = ((performance.now() - started) / COMMITS) * 1e6
    else sites = (total(seen) - before) / COMMITS
    await store.close()
  }
  return { sites, commitNs }
}

function total(seen: ReadonlyMap<string, number> | undefined): number {
  return seen === undefined ? 0 : [...seen.values()].reduce((sum, each) => sum + each, 0)
}
