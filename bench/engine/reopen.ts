// bench/engine/reopen.ts: a log of 200,000 one-row commits, its writer killed, opened by a new process up to the first row read.
//
// No checkpoint is made on the way (varve: upkeep "manual"; SQLite: wal_autocheckpoint = 0): with the defaults no engine here keeps so long a log. SQLite's log
// is written without syncs, which changes how long the preparation takes and not what is in the log. Each round opens a copy.
import { cpSync, rmSync } from 'node:fs'

import { inChild } from '../children.ts'
import { contest, verify } from '../contest.ts'
import { freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { type Suite, takingPart } from '../suite.ts'

const COMMITS = 200_000

interface Opening {
  readonly ms: number
  readonly openMs: number
  readonly found: boolean
  readonly count: number
}

export async function reopen(suite: Suite): Promise<void> {
  const entries = []
  const folders: string[] = []
  const openMs: number[] = []
  for (const { name } of takingPart(suite, 'reopen-200k')) {
    const folder = freshFolder()
    folders.push(folder)
    const { commits } = await inChild<{ commits: number }>(['fill', name, folder, String(COMMITS)], { killed: true })
    verify(commits === COMMITS, `${name} made ${commits} commits`)
    entries.push({
      name,
      turn: async () => {
        const copy = freshFolder()
        cpSync(folder, copy, { recursive: true })
        settleDisk()
        const opening = await inChild<Opening>(['open', name, copy, String(COMMITS)], { killed: true })
        verify(opening.found && opening.count === COMMITS, `${name} has ${opening.count} of ${COMMITS} commits after the kill`)
        rmSync(copy, { recursive: true, force: true })
        if (name === 'varve') openMs.push(opening.openMs)
        return { ms: opening.ms, operations: 1 }
      },
    })
  }
  suite.add(await contest('reopen-200k', 'ms', suite.sizes.rounds, entries))
  suite.fact('reopen-200k.open-alone', `${rounded(medianOf(openMs))} ms until the store was open, the rest is the first get`)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}
