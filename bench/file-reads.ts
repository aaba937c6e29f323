// bench/file-reads.ts: how often this process reads files or opens them, counted at node:fs, below everything that varve calls its root.
import fs from 'node:fs'

const READS = ['read', 'readSync', 'readv', 'readvSync', 'readFile', 'readFileSync'] as const
const CALLS = [...READS, 'open', 'openSync'] as const

/** @param o.opens  count opens too; default true */
export async function countFileReads(fn: () => Promise<unknown>, o: { readonly opens?: boolean } = {}): Promise<number> {
  const calls = o.opens === false ? READS : CALLS
  const holder = fs as unknown as Record<string, (...args: unknown[]) => unknown>
  const kept = calls.map((name) => holder[name]!)
  let count = 0
  calls.forEach((name, i) => {
    holder[name] = (...args) => {
      count++
      return kept[i]!.apply(fs, args)
    }
  })
  try {
    await fn()
  } finally {
    calls.forEach((name, i) => {
      holder[name] = kept[i]!
    })
  }
  return count
}
