// A process of its own beside root-processes.test.ts: does one root call per message and answers.
import { DirRoot } from '../../bindings/root/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { patterned } from '../../bindings/testing/index.ts'

type Request =
  | { readonly op: 'create'; readonly name: string; readonly bytes: number; readonly seed: number; readonly sync: boolean }
  | { readonly op: 'replace'; readonly name: string }
  | { readonly op: 'churn' }

const root = new DirRoot(process.argv[2]!, defaultWorld())
const { pid, processStartTime } = defaultWorld().host

process.on('message', (request: Request) => void answer(request))
process.on('disconnect', () => process.exit(0))
process.send?.({ pid, processStartTime })

async function answer(request: Request): Promise<void> {
  if (request.op === 'create') {
    const { status } = await root.putIfAbsent(request.name, patterned(request.bytes, request.seed), { sync: request.sync })
    process.send?.(status)
  } else if (request.op === 'replace') {
    await root.put(request.name, new Uint8Array([2]))
    process.send?.('replaced')
  } else {
    // Until killed: whole versions only, in objects that are replaced, created, renamed and deleted.
    for (let i = 1; ; i++) {
      const bytes = new Uint8Array(20_000 + (i % 5) * 1000).fill(i & 255)
      await Promise.all([root.put('churn/replaced', bytes, { sync: i % 3 === 0 }), root.putIfAbsent(`churn/created/${i}`, bytes, { sync: false })])
      await root.rename(`churn/created/${i}`, `churn/renamed/${i % 7}`)
      if (i % 10 === 0) await root.deletePrefix('churn/renamed')
    }
  }
}
