// bench/file-reads.ts: how often this process reads files or opens them, counted at node:fs, below everything that varve calls its root.
import fs from 'node:fs'

const CALLS = ['read', 'readSync', 'readv', 'readvSync', 'open', 'openSync', 'readFile', 'readFileSync'] as const

export async function countFileReads(fn: () => Promise<unknown>): Promise<number> {
  const holder = fs as unknown as Record<string, (...args: unknown[]) => unknown>
  const kept = CALLS.map((name) => holder[name]!)
  let count = 0
  CALLS.forEach((name, i) => {
    holder[name] = (...args) => {
      count++
      return kept[i]!.apply(fs, args)
    }
  })
  try {
    await fn()
  } finally {
    CALLS.forEach((name, i) => {
      holder[name] = kept[i]!
    })
  }
  return count
}
