// cli/commands/ship.ts: `ship status`: what replicas say of themselves, asked beside whoever ships to them, drawn over and over.
//
// Nobody is fenced and nothing is changed by it. With the store it says how far each is behind; the digests say whether all that are compared have one history.
import { type ReadStore, Store } from '../../index.ts'
import { observe, type Observed, type ReplicaTarget } from '../../shipping.ts'
import type { Run } from '../command.ts'
import { EXIT, UsageError } from '../failure.ts'
import { drawFrames, paceOf } from '../frames.ts'
import { countText, factLines, tableLines } from '../render.ts'
import { keyOf, targetsOf, tlsOf } from '../ship-options.ts'

const DIGEST_SHOWN = 16

interface Asked {
  readonly target: ReplicaTarget
  readonly observed: Observed | undefined
  readonly error: Error | undefined
}

/** One look at all of them. */
interface Look {
  readonly head: bigint | undefined
  readonly replicas: readonly Asked[]
  /** The highest LSN that every replica that answered has, and its digest on each. */
  readonly common: bigint
  readonly digests: ReadonlyMap<string, string>
  readonly equal: boolean
}

export const run: Run = async (context, [what = '', path], options) => {
  if (what !== 'status') throw new UsageError(`no command ${JSON.stringify(`ship ${what}`)}`, 'There is: varve ship status.')
  const targets = targetsOf(options)
  if (targets.length === 0) throw new UsageError('no replica', 'Name one or more: --replica r1=127.0.0.1:7701')
  const pace = paceOf(options)
  const [key, tls] = [await keyOf(options), await tlsOf(options)]
  const { signal } = context
  const store = path === undefined ? undefined : await Store.open(path, { readOnly: true, follow: false, signal })
  const how = { ...(key === undefined ? {} : { key }), ...(tls === undefined ? {} : { tls }), signal }
  let last: Look | undefined
  try {
    await drawFrames(context, pace, async () => {
      const found = (last = await look(store, targets, how))
      return { lines: () => statusLines(found), json: () => statusJson(found) }
    })
  } finally {
    await store?.close()
  }
  return last === undefined || (last.equal && last.replicas.every(({ observed }) => observed !== undefined)) ? EXIT.ok : EXIT.problems
}

async function look(store: ReadStore | undefined, targets: readonly ReplicaTarget[], how: object): Promise<Look> {
  const ask = async (target: ReplicaTarget, at?: bigint): Promise<Asked> => {
    try {
      const observed = await observe(target.endpoint as string, { ...how, replicaId: target.id, ...(at === undefined ? {} : { at }) })
      return { target, observed, error: undefined }
    } catch (error) {
      return { target, observed: undefined, error: error as Error }
    }
  }
  const replicas = await Promise.all(targets.map((target) => ask(target)))
  const there = replicas.flatMap(({ observed }) => (observed === undefined || observed.storeId === '' ? [] : [observed]))
  const common = there.reduce((low, { durableLsn }) => (durableLsn < low ? durableLsn : low), there[0]?.durableLsn ?? 0n)
  const digests = new Map<string, string>()
  for (const { target, observed } of replicas) {
    if (observed === undefined || observed.storeId === '') continue
    const again = observed.durableLsn === common ? observed : (await ask(target, common)).observed
    const digest = observed.durableLsn === common ? observed.digest : again?.digestAt
    if (digest !== undefined) digests.set(target.id, digest)
  }
  await store?.refresh()
  return { head: store?.lsn, replicas, common, digests, equal: new Set(digests.values()).size <= 1 }
}

function statusJson({ head, common, equal, digests, replicas }: Look): object {
  return {
    head,
    common,
    equal,
    digests: Object.fromEntries(digests),
    replicas: replicas.map(({ target, observed, error }) => ({
      id: target.id,
      endpoint: target.endpoint,
      ...observed,
      ...(error === undefined ? {} : { error: { code: (error as { code?: string }).code ?? error.name, message: error.message } }),
    })),
  }
}

function statusLines({ head, replicas, common, digests, equal }: Look): string[] {
  const rows = replicas.map(({ target, observed, error }) => {
    if (observed === undefined) return [target.id, String(target.endpoint), 'no answer', '', '', '', '', (error as { code?: string }).code ?? error!.name]
    if (observed.storeId === '') return [target.id, String(target.endpoint), 'empty', '', '', '', '', 'never spoken to']
    const behind = head === undefined ? '' : countText(head > observed.durableLsn ? head - observed.durableLsn : 0n)
    return [
      target.id,
      String(target.endpoint),
      observed.rebuildInProgress ? 'rebuilding' : 'up',
      String(observed.durableLsn),
      String(observed.committedLsn),
      behind,
      String(observed.epochSeen),
      (digests.get(target.id) ?? '').slice(0, DIGEST_SHOWN),
    ]
  })
  const verdict =
    digests.size < 2 ? undefined : equal ? `all ${digests.size} have the same history up to LSN ${common}` : `their histories differ at LSN ${common}`
  return [
    ...factLines([...(head === undefined ? [] : [['store', `LSN ${head}`] as const]), ...(verdict === undefined ? [] : [['digests', verdict] as const])]),
    ...tableLines(['replica', 'address', 'state', 'durable', 'committed', 'behind', 'epoch', `digest at ${common}`], rows, [
      'left',
      'left',
      'left',
      'right',
      'right',
      'right',
      'right',
    ]),
  ]
}
