// cli/commands/serve.ts: `serve`: the primary of a store as a process: ships it to replicas until Ctrl-C, and commits what comes on stdin.
//
// Invariant: with --append each line of stdin is one commit, acknowledged on stdout in the order of the lines once the store's mode is satisfied; what was not
// acknowledged when it ends was not promised. No line is taken before as many replicas are in sync as the mode waits for.
import { createInterface } from 'node:readline'
import { type AnyTable, Store } from '../../index.ts'
import { ship, type Shipping, type ShippingStatus } from '../../shipping.ts'
import type { NamedField } from '../column-type.ts'
import { fieldsOf, interrupted, type Run, tableInfo, textOption, wholeOption } from '../command.ts'
import { CliError, UsageError } from '../failure.ts'
import { rowFromLine } from '../formats/ndjson-in.ts'
import { jsonLine } from '../output.ts'
import { countText, tableLines } from '../render.ts'
import { ackOf, keyOf, targetsOf, tlsOf } from '../ship-options.ts'

/** Commits that wait for their acknowledgement at one time. */
const IN_FLIGHT = 256

export const run: Run = async (context, [path = ''], options) => {
  const { signal } = context
  const replicas = targetsOf(options)
  if (replicas.length === 0) throw new UsageError('no replica', 'Name one or more: --replica r1=127.0.0.1:7701')
  const ack = ackOf(options)
  const [key, tls] = [await keyOf(options), await tlsOf(options)]
  const name = textOption(options, 'append')
  const seconds = wholeOption(options, 'seconds', 1)
  const over = new AbortController()
  const until = AbortSignal.any([signal, over.signal, ...(seconds === undefined ? [] : [AbortSignal.timeout(seconds * 1000)])])
  const epoch = wholeOption(options, 'epoch', 1)
  await using store = await Store.open(path, { create: 'never', signal, ...(epoch === undefined ? {} : { epoch }) })
  const table = name === undefined ? undefined : await store.table(name)
  await using shipping = await ship(store, {
    replicas,
    ...(ack === undefined ? {} : { ack }),
    ...(key === undefined ? {} : { key }),
    ...(tls === undefined ? {} : { tls }),
  })
  const say = (event: string, facts: object, text: string): void => {
    context.out.write(context.json ? jsonLine({ event, ...facts }) : `${text}\n`).catch(() => undefined)
  }
  say(
    'serving',
    { epoch: shipping.status().epoch, mode: shipping.status().mode },
    `serving ${path} in mode ${shipping.status().mode}, epoch ${shipping.status().epoch}`,
  )
  using _states = shipping.on('state', ({ replicaId, from, to, reason }) => {
    say('state', { replicaId, from, to, reason }, `${replicaId}: ${from} -> ${to}${reason === '' ? '' : ` (${reason})`}`)
  })
  const fenced = Promise.withResolvers<never>()
  fenced.promise.catch(() => undefined)
  using _fenced = shipping.on('fenced', ({ held, seen }) => {
    const why = seen > held ? `a primary of epoch ${seen} exists, this one is at ${held}` : `the replicas were fenced at epoch ${seen}, and wait for a decision`
    say('fenced', { held, seen }, `fenced: ${why}`)
    fenced.reject(
      new UsageError(
        seen > held ? 'another primary exists' : 'nobody has decided that this primary goes on',
        `Bring this store back as a replica: varve replica <store>. Where replicas were fenced and none was promoted: varve serve --epoch ${seen}; where one was promoted at it and is gone for good: promote another behind a new fence (or --epoch ${seen + 1}, which gives up what it wrote).`,
      ),
    )
  })
  const work = async (): Promise<void> => {
    if (table === undefined) return interrupted(until)
    await reached(shipping, until)
    if (!until.aborted) await appended(store, table, until, say)
  }
  // What still waits, for Ctrl-C or for a line, would keep the process.
  await Promise.race([fenced.promise, work()]).finally(() => over.abort())
  const status = shipping.status()
  if (context.json) await context.out.write(jsonLine({ event: 'closing', ...status }))
  else await context.out.lines(statusLines(status))
  return undefined
}

/** Lines are not taken before there are enough nodes to acknowledge them: the store would refuse them. Resolves at Ctrl-C too. */
async function reached(shipping: Shipping, signal: AbortSignal): Promise<void> {
  const { mode } = shipping.status()
  const missing = (): string[] => {
    const { replicas, neededReplicas } = shipping.status()
    const voters = replicas.filter(({ role }) => role === 'voter')
    const away = voters.filter(({ state }) => state !== 'in_sync')
    return voters.length - away.length >= neededReplicas ? [] : away.map(({ id }) => id)
  }
  const first = missing()
  if (first.length === 0) return
  process.stderr.write(`waiting for ${first.join(', ')}: mode ${mode} takes no line before enough of them are in sync\n`)
  const ready = new AbortController()
  using _states = shipping.on('state', () => {
    if (missing().length === 0) ready.abort()
  })
  await interrupted(AbortSignal.any([signal, ready.signal]))
}

/** One line, one commit; acknowledgements in the order of the lines. */
async function appended(store: Store, table: AnyTable, signal: AbortSignal, say: (event: string, facts: object, text: string) => void): Promise<void> {
  const fields = fieldsOf(await tableInfo(store, table.name))
  const waiting: Promise<void>[] = []
  let line = 0
  let hasFailed = false
  const lines = createInterface({ input: process.stdin, signal })
  for await (const text of lines) {
    line++
    if (text.trim() === '') continue
    const number = line
    const row = rowOf(fields, text, number)
    const committed = store.append(table, row as never).then(({ lsn }) => say('committed', { line: number, lsn }, `line ${number}: committed at LSN ${lsn}`))
    // No line is taken behind one that was not committed.
    committed.catch(() => {
      hasFailed = true
      lines.close()
    })
    waiting.push(committed)
    if (waiting.length >= IN_FLIGHT) await waiting.shift()
    if (signal.aborted || hasFailed) break
  }
  await Promise.all(waiting)
}

function rowOf(fields: readonly NamedField[], text: string, line: number): object {
  try {
    return rowFromLine(fields, text)
  } catch (cause) {
    throw new CliError(`line ${line}: ${(cause as Error).message}`, 'Write one JSON object a line, as varve export --format ndjson does.', cause)
  }
}

function statusLines(status: ShippingStatus): string[] {
  const rows = status.replicas.map((replica) => [
    replica.id,
    replica.role,
    replica.endpoint.data,
    replica.state,
    String(replica.durableLsn),
    countText(replica.lag),
    replica.lastError === null ? replica.reason : replica.lastError.code,
  ])
  return [
    `mode ${status.mode}, epoch ${status.epoch}, durable LSN ${status.durableLsn}, committed LSN ${status.committedLsn}`,
    ...tableLines(['replica', 'role', 'address', 'state', 'durable', 'behind', 'note'], rows, ['left', 'left', 'left', 'left', 'right', 'right']),
  ]
}
