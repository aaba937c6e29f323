// cli/commands/replica.ts: `replica`: a replica as a process, until Ctrl-C; `promote`: makes the folder of one a store that is written to.
//
// Invariant: the address line comes first and is printed once it can be reached; with port 0 it says which port that is.
import { lsn } from '../../index.ts'
import { Replica, type ReplicaStatus } from '../../shipping.ts'
import { interrupted, type Run, textOption, wholeOption } from '../command.ts'
import { UsageError } from '../failure.ts'
import { jsonLine } from '../output.ts'
import { countText, durationText } from '../render.ts'
import { keyOf, tlsOf } from '../ship-options.ts'

const LOOPBACK = '127.0.0.1:0'

export const run: Run = async (context, [path = ''], options) => {
  const { signal } = context
  await using replica = await opened(path, options, textOption(options, 'listen') ?? LOOPBACK, signal)
  await context.out.write(
    context.json
      ? jsonLine({ event: 'listening', replicaId: replica.status().replicaId, endpoint: replica.endpoint.data })
      : `replica ${replica.status().replicaId} of ${path} listens on ${replica.endpoint.data}\n`,
  )
  const tell = (event: string, status: ReplicaStatus): void => {
    context.out.write(context.json ? jsonLine({ event, ...status }) : `${stateLine(event, status)}\n`).catch(() => undefined)
  }
  using _state = replica.on('state', (status) => tell('state', status))
  using _installed = replica.on('installed', (status) => tell('installed', status))
  using _truncated = replica.on('truncated', (status) => tell('truncated', status))
  using _ready = replica.on('ready', (status) => tell('ready', status))
  using _failed = replica.on('failed', (status) => tell('failed', status))
  await interrupted(signal)
  tell('closing', replica.status())
  return undefined
}

function stateLine(event: string, { lsn: at, durable, committed, epoch, generation, connected, mode, lag, failure }: ReplicaStatus): string {
  const link = connected ? `connected (${mode ?? 'idle'})` : 'not connected'
  return `${event}: LSN ${at}, durable ${durable}, committed ${committed}, epoch ${epoch}, generation ${generation}, ${link}${lag > 0 ? `, ${countText(lag)} to show` : ''}${failure === undefined ? '' : `: ${failure.message}`}`
}

export const runPromote: Run = async (context, [path = ''], options) => {
  const accept = wholeOption(options, 'acceptLossAbove', 0)
  const epoch = wholeOption(options, 'epoch', 1)
  const startMs = performance.now()
  // A folder that is no replica's is not made one on the way.
  const replica = await opened(path, options, LOOPBACK, context.signal, 'never')
  let before: ReplicaStatus
  let store: Awaited<ReturnType<Replica['promote']>>
  try {
    before = replica.status()
    store = await replica.promote({ ...(epoch === undefined ? {} : { epoch }), ...(accept === undefined ? {} : { acceptLossAbove: lsn(accept) }) })
  } catch (error) {
    await replica.close().catch(() => undefined)
    throw error
  }
  const facts = {
    id: store.id,
    epoch: store.epoch,
    lsn: store.lsn,
    durable: before.durable,
    committed: before.committed,
    ...(accept === undefined ? {} : { lostAbove: before.durable }),
  }
  await store.close()
  if (context.json) await context.out.json(facts)
  else
    await context.out.lines([
      `${path} is a primary now: epoch ${facts.epoch}, LSN ${facts.lsn} (${durationText(performance.now() - startMs)})`,
      `kept up to LSN ${facts.durable}; ${facts.committed} was called committed`,
      ...(accept === undefined ? [] : [`given up: whatever other nodes have above LSN ${facts.durable}`]),
    ])
  return undefined
}

async function opened(
  path: string,
  options: Readonly<Record<string, unknown>>,
  listen: string,
  signal: AbortSignal,
  create: 'if-missing' | 'never' = 'if-missing',
): Promise<Replica> {
  const id = textOption(options, 'id')
  if (id === undefined) throw new UsageError('a replica has a name', 'Give one that stays: --id r1.')
  const [key, tls] = [await keyOf(options), await tlsOf(options)]
  return await Replica.open(path, { replicaId: id, listen, create, signal, ...(key === undefined ? {} : { key }), ...(tls === undefined ? {} : { tls }) })
}
