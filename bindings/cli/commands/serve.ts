// cli/commands/serve.ts: `serve`: the primary of a store as a process: ships it to replicas until Ctrl-C, and commits what comes on stdin.
//
// Invariant: with --append each line of stdin is one commit, acknowledged on stdout in the order of the lines once the store's mode is satisfied; what was not
// acknowledged when it ends was not promised.
import { createInterface } from 'node:readline'
import { type AnyTable, Store } from '../../index.ts'
import { ship, type ShippingStatus } from '../../shipping.ts'
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
  const until = seconds === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(seconds * 1000)])
  await using store = await Store.open(path, { create: 'never', signal })
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
    say('fenced', { held, seen }, `fenced: a primary of epoch ${seen} exists, this one is at ${held}`)
    fenced.reject(new UsageError('another primary exists', 'Bring this store back as a replica: varve replica <store>.'))
  })
  await Promise.race([fenced.promise, table === undefined ? interrupted(until) : appended(store, table, until, say)])
  const status = shipping.status()
  if (context.json) await context.out.write(jsonLine({ event: 'closing', ...status }))
  else await context.out.lines(statusLines(status))
  return undefined
}

/** One line, one commit; acknowledgements in the order of the lines. */
async function appended(store: Store, table: AnyTable, signal: AbortSignal, say: (event: string, facts: object, text: string) => void): Promise<void> {
  const fields = fieldsOf(await tableInfo(store, table.name))
  const waiting: Promise<void>[] = []
  let line = 0
  const lines = createInterface({ input: process.stdin, signal })
  for await (const text of lines) {
    line++
    if (text.trim() === '') continue
    const number = line
    const row = rowOf(fields, text, number)
    const committed = store.append(table, row as never).then(({ lsn }) => say('committed', { line: number, lsn }, `line ${number}: committed at LSN ${lsn}`))
    // Heard when its turn comes.
    committed.catch(() => undefined)
    waiting.push(committed)
    if (waiting.length >= IN_FLIGHT) await waiting.shift()
    if (signal.aborted) break
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
