// The transport contract over real sockets, on whatever runtime runs this file: its own small runner, since there is no vitest there.
//
// It must end by itself: what a transport leaves open would keep the process alive. Prints `<cases> passed`, or what failed.
import { TcpTransport } from '../../bindings/ship/index.ts'
import { type ContractRunner, transportContract } from '../../bindings/testing/index.ts'
import { LOCAL, sockets } from '../ship/wire/sockets.ts'

const cases: { readonly name: string; readonly body: () => Promise<void> }[] = []
const runner: ContractRunner = { describe: (_name, body) => body(), it: (name, body) => void cases.push({ name, body }) }
transportContract(runner, 'TCP', sockets)

// N4: a listener that says nothing, and nobody who closes anything but the link.
cases.push({
  name: 'N4 a silent listener',
  body: async () => {
    const { silent, dispose } = await sockets({})
    const connecting = new TcpTransport({ key: 'd4'.repeat(32), connectTimeoutMs: 100 }).connect(await silent(), new AbortController().signal)
    const code = await connecting.then(
      () => 'connected',
      (error: { code: string }) => error.code,
    )
    await dispose!()
    if (code !== 'ship.transport') throw new Error(code)
  },
})

const failures: string[] = []
for (const { name, body } of cases) await body().catch((error: unknown) => void failures.push(`${name}: ${String(error)}`))

// Links that were closed in order leave nothing behind.
const accepted: { close(): Promise<void> }[] = []
const listening = await new TcpTransport().listen({ accept: (link) => void accepted.push(link) }, LOCAL)
const link = await new TcpTransport().connect(listening.endpoint, new AbortController().signal)
await link.send({ epoch: 1, session: 1, message: { type: 'digestReq', lsn: 1 } })
await link.close()
for (const each of accepted) await each.close()
await listening[Symbol.asyncDispose]()

console.log(failures.length === 0 ? `${cases.length} passed` : failures.join('\n'))
