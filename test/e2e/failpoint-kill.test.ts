// Real processes that kill themselves with SIGKILL at a failpoint: the crash that simulations play, played by the machine.
//
// Given what a child had acknowledged, then a new process finds it, and nothing that was not begun.
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { type FailpointName, FP } from '../../bindings/testing/index.ts'

const CHILD = fileURLToPath(new URL('failpoint-kill-child.ts', import.meta.url))
const docs = table('docs', { id: t.int32(), body: t.utf8() }, { key: ['id'] })

const POINTS: readonly FailpointName[] = [
  FP.open.beforeLock,
  FP.open.afterLock,
  FP.open.beforeEpoch,
  FP.open.afterVersionFile,
  FP.log.node,
  FP.log.beforeWrite,
  FP.log.shortWrite,
  FP.log.beforeSync,
  FP.log.afterSync,
  FP.log.beforeLockCheck,
  FP.log.roll,
  FP.log.beforeFooter,
  FP.log.afterFooter,
  FP.log.beforeClean,
  FP.log.afterClean,
  FP.checkpoint.beforeWrite,
  FP.checkpoint.beforeRename,
  FP.checkpoint.afterRename,
  FP.flush.beforeFragment,
  FP.flush.beforePublish,
  FP.flush.afterPublish,
]

async function run(
  directory: string,
  point: FailpointName,
  after: number,
): Promise<{ signal: string | null; begun: number[]; acknowledged: number[]; errors: string }> {
  const child = spawn(process.execPath, [CHILD, directory, point, String(after)], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)))
  const numbers = (mark: string): number[] => output.split('\n').flatMap((line) => (line.startsWith(`${mark} `) ? [Number(line.slice(2))] : []))
  return { signal, begun: numbers('s'), acknowledged: numbers('a'), errors }
}

it.each(POINTS)('killed at %s: nothing acknowledged is lost, nothing is invented', async (point) => {
  for (const after of [0, 1]) {
    const directory = await mkdtemp(join(tmpdir(), 'varve-kill-'))
    try {
      const { signal, begun, acknowledged, errors } = await run(directory, point, after)
      // Not every point is passed twice.
      if (after === 0) expect(signal, errors).toBe('SIGKILL')
      for (let open = 0; open < 2; open++) {
        await using store = await Store.open(directory, { threads: 0 })
        const ids: number[] = []
        if ((await store.tables()).length > 0) for await (const { id } of store.scan(docs).rows()) ids.push(id)
        for (const id of acknowledged) expect(ids, `arrival ${after}, open ${open}`).toContain(id)
        for (const id of ids) expect(begun).toContain(id)
        expect((await store.verify({ level: 'all' })).problems).toEqual([])
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
})
