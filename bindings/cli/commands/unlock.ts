// cli/commands/unlock.ts: `varve unlock <store>`: whose the lock is; with --force it is outranked, unless its owner may live.
import { createInterface } from 'node:readline/promises'
import { forceUnlock, lockInfo, type UnlockInfo } from '../../index.ts'
import type { Run } from '../command.ts'
import { EXIT, UsageError } from '../failure.ts'
import { factLines } from '../render.ts'

export const run: Run = async (context, [path = ''], options) => {
  const before = await lockInfo(path)
  const isHeld = before.state === 'held' || before.state === 'unreadable'
  if (options['force'] !== true || !isHeld) {
    if (context.json) await context.out.json({ ...before, unlocked: false })
    else await context.out.lines(lockLines(before))
    return isHeld ? EXIT.locked : EXIT.ok
  }
  if (options['yes'] !== true) {
    if (context.json || !process.stdin.isTTY)
      throw new UsageError('--force asks before it acts, and there is nobody to ask', 'Add --yes once you know that the owner is gone.')
    process.stderr.write(`${lockLines(before).join('\n')}\n`)
    if (!(await ask('Is that process gone for good, and is no other using this store? [y/N] ', context.signal))) return EXIT.locked
  }
  const outranked = await forceUnlock(path)
  const after = await lockInfo(path)
  if (context.json) await context.out.json({ ...after, unlocked: true, was: outranked.holder })
  else await context.out.lines([`LOCK.${outranked.number} is outranked: LOCK.${after.number} is free for the next writer`])
  return EXIT.ok
}

function lockLines(info: UnlockInfo): string[] {
  switch (info.state) {
    case 'absent':
      return ['no lock was ever taken here']
    case 'released':
      return [`LOCK.${info.number} is released: the store is free`]
    case 'unreadable':
      return [`LOCK.${info.number} cannot be read: its check does not match`]
    case 'held': {
      const { holder, alive } = info
      const state =
        alive === true ? 'it is running' : alive === false ? 'it is gone: the next open takes the lock over' : 'whether it runs cannot be told from this host'
      return [
        `LOCK.${info.number} is held`,
        ...factLines([
          ['process', `${holder!.pid} on ${holder!.host}, ${state}`],
          ['epoch', String(holder!.epoch)],
          ['boot', holder!.bootId],
        ]),
      ]
    }
  }
}

async function ask(question: string, signal: AbortSignal): Promise<boolean> {
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(?:es)?$/i.test((await prompt.question(question, { signal })).trim())
  } finally {
    prompt.close()
  }
}
