// A process that owns a store and does as it is told: lines on stdin, answers on stdout.
//
//   argv: directory.   "commit n" -> "a n lsn" or "e n code"; "burst n count" -> the same for each; "close" -> "closed"; first of all "open" or "e open code pid"

import { createInterface } from 'node:readline'

import { Store, VarveError } from '../../bindings/index.ts'
import { singleRow, singles } from './plan.ts'

const say = (line: string): boolean => process.stdout.write(`${line}\n`)
const codeOf = (error: unknown): string => (error instanceof VarveError ? error.code : String(error))

let store: Store
try {
  store = await Store.open(process.argv[2]!, { openRetry: { delaysMs: process.argv[3] === 'once' ? [] : [20, 20] } })
} catch (error) {
  const holder = (error as { details?: { holder?: { pid: number } } }).details?.holder
  say(`e open ${codeOf(error)} ${holder?.pid}`)
  process.exit(0)
}
await store.create(singles)
say('open')

function commit(n: number): void {
  store.upsert(singles, singleRow(n)).then(
    ({ lsn }) => say(`a ${n} ${lsn}`),
    (error: unknown) => say(`e ${n} ${codeOf(error)}`),
  )
}

for await (const line of createInterface({ input: process.stdin })) {
  const [what, n, count] = line.split(' ')
  if (what === 'commit') commit(Number(n))
  else if (what === 'burst') for (let i = 0; i < Number(count); i++) commit(Number(n) + i)
  else if (what === 'close') {
    await store.close().then(
      () => say('closed'),
      (error: unknown) => say(`e close ${codeOf(error)}`),
    )
    process.exit(0)
  }
}
