// What the tests of the wire send: one example of every message, and any message at all.
import fc from 'fast-check'

import type { Message } from '../../../bindings/format/index.ts'

const hash = (seed: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => (seed * 37 + i * 11) & 255)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const STORE_ID = hash(9).slice(0, 16)

/** The name of a content-addressed file with that hash. */
export function fileOf(
  digest: Uint8Array,
  bytes: number,
  o: { readonly ext?: 'arrow' | 'idx' | 'dv'; readonly gen?: number } = {},
): {
  readonly name: string
  readonly hash: Uint8Array
  readonly bytes: number
} {
  const text = hex(digest)
  const ext = o.ext ?? 'arrow'
  const folder = ext === 'idx' ? 'indexes' : 'fragments'
  return { name: `${folder}/${text.slice(0, 2)}/${text}${o.gen === undefined ? '' : `.g${o.gen}`}.${ext}`, hash: digest, bytes }
}

export const CHECKPOINT: { readonly name: string; readonly hash: Uint8Array; readonly bytes: number } = {
  name: `checkpoints/${'7'.padStart(20, '0')}.ckpt`,
  hash: hash(70),
  bytes: 700,
}

/** One of each type, in the order of their numbers. */
export const EXAMPLES: readonly Message[] = [
  { type: 'hello', protocol: 1, replicaId: 'eu-1.b:2', storeId: STORE_ID, endpointVersion: 3, mandate: 9, decision: '0f'.repeat(16), kind: 'rebuild' },
  {
    type: 'helloReply',
    protocol: 1,
    replicaId: 'eu-1.b:2',
    storeId: STORE_ID,
    epochSeen: 4,
    durableLsn: 2 ** 40 + 3,
    committedLsn: 2 ** 40,
    tailLsn: 5,
    lineage: [
      { epoch: 1, firstLsn: 1 },
      { epoch: 4, firstLsn: 17 },
    ],
    digest: hash(1),
    checkpoints: [7, 90],
    rebuildInProgress: hash(2),
    isWhole: true,
    elided: { lsn: 2 ** 40 + 9, epoch: 4, mandate: 9 },
  },
  { type: 'digestReq', lsn: 12 },
  { type: 'digestReply', lsn: 12, digest: hash(3) },
  { type: 'grant', mode: 'tail', start: 5, target: 50, committedLsn: 49, elideDead: true },
  { type: 'grantAck', durableLsn: 5 },
  { type: 'entries', first: 6, count: 2, committedLsn: 7, digest: hash(4), base: false, bytes: new Uint8Array([1, 2, 3]) },
  { type: 'fragment', hash: hash(5), offset: 10, total: 13, dead: false, bytes: new Uint8Array([9, 8, 7]) },
  { type: 'ack', receivedLsn: 9, durableLsn: 8, appliedLsn: 7 },
  { type: 'truncate', lsn: 11 },
  { type: 'truncated', lsn: 11, digest: hash(6) },
  { type: 'manifest', hash: hash(7), bytes: new Uint8Array(300).fill(5) },
  { type: 'want', lsn: 8, files: [fileOf(hash(8), 100), fileOf(hash(9), 0, { ext: 'idx', gen: 2 }), CHECKPOINT] },
  { type: 'install', manifestHash: hash(10) },
  { type: 'installed', baseLsn: 7 },
  { type: 'heartbeat', committedLsn: 7, durableLsn: 8 },
  { type: 'error', code: 'ship.gap', message: 'records that do not follow', details: { expected: 5n, got: 2n ** 60n, at: hash(1), text: 'ä' } },
  { type: 'verifySelf', upTo: 12 },
  { type: 'verified', ok: false, firstBad: 3, ackMode: 'quorum' },
  { type: 'challenge', nonce: hash(11) },
  { type: 'proof', mac: hash(12) },
  { type: 'working', done: 2 ** 40 },
]

const lsn = fc.oneof(fc.nat(300), fc.maxSafeNat())
const some = fc.uint8Array({ minLength: 32, maxLength: 32 })
const storeId = fc.uint8Array({ minLength: 16, maxLength: 16 })
const replicaId = fc.stringMatching(/^[A-Za-z0-9._:-]{1,128}$/)
const file = fc.oneof(
  fc.constant(CHECKPOINT),
  fc
    .record({
      hash: some,
      bytes: lsn,
      ext: fc.constantFrom('arrow' as const, 'idx' as const, 'dv' as const),
      gen: fc.option(fc.integer({ min: 1, max: 999 }), { nil: undefined }),
    })
    .map(({ hash: digest, bytes, ext, gen }) => fileOf(digest, bytes, gen === undefined ? { ext } : { ext, gen })),
)
const lineage = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })), { maxLength: 6 })
  .map((steps) => steps.map((_, i) => ({ epoch: sum(steps, i, 0), firstLsn: sum(steps, i, 1) })))
const bytes = fc.uint8Array({ maxLength: 400 })

function sum(steps: readonly (readonly [number, number])[], to: number, part: 0 | 1): number {
  return steps.slice(0, to + 1).reduce((total, step) => total + step[part], 0)
}

const details = fc.dictionary(
  fc.stringMatching(/^[a-z]{1,8}$/),
  fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.bigInt({ min: -(2n ** 100n), max: 2n ** 100n }), fc.array(fc.integer())),
)

/** Every legal message. */
export const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  fc
    .record({
      type: fc.constant('hello' as const),
      protocol: fc.nat(),
      replicaId,
      storeId,
      endpointVersion: lsn,
      decided: fc.option(fc.record({ mandate: lsn.filter((some) => some > 0), decision: fc.stringMatching(/^[0-9a-f]{31}[1-9a-f]$/) })),
      kind: fc.constantFrom('bootstrap' as const, 'catchup' as const, 'reassign' as const, 'rebuild' as const, 'observe' as const, 'fence' as const),
    })
    .map(({ decided, ...hello }) => ({ ...hello, ...(decided ?? { mandate: 0, decision: '' }) })),
  fc.record({
    type: fc.constant('helloReply' as const),
    protocol: fc.nat(),
    replicaId,
    storeId: fc.option(storeId, { nil: undefined }),
    epochSeen: lsn,
    durableLsn: lsn,
    committedLsn: lsn,
    tailLsn: lsn,
    lineage: fc.option(lineage),
    digest: some,
    checkpoints: fc.array(lsn, { maxLength: 5 }),
    rebuildInProgress: fc.option(some),
    isWhole: fc.boolean(),
    elided: fc.option(fc.record({ lsn, epoch: lsn, mandate: lsn })),
  }),
  fc.record({ type: fc.constantFrom('digestReq' as const, 'truncate' as const), lsn }),
  fc.record({ type: fc.constant('digestReply' as const), lsn, digest: fc.option(some, { nil: undefined }) }),
  fc.record({
    type: fc.constant('grant' as const),
    mode: fc.constantFrom('catchup' as const, 'tail' as const, 'stream' as const),
    start: lsn,
    target: lsn,
    committedLsn: lsn,
    elideDead: fc.boolean(),
  }),
  fc.record({ type: fc.constant('grantAck' as const), durableLsn: lsn }),
  fc
    .record({ type: fc.constant('entries' as const), first: fc.integer({ min: 1, max: 2 ** 45 }), committedLsn: lsn, digest: some, base: fc.boolean(), bytes })
    .map((message) => ({ ...message, count: message.bytes.length })),
  fc
    .record({ type: fc.constant('fragment' as const), hash: some, offset: fc.nat(), rest: fc.nat(), dead: fc.boolean(), bytes })
    .map(({ rest, ...message }) => ({ ...message, total: message.offset + message.bytes.length + rest })),
  fc.record({ type: fc.constant('ack' as const), receivedLsn: lsn, durableLsn: lsn, appliedLsn: lsn }),
  fc.record({ type: fc.constant('truncated' as const), lsn, digest: some }),
  fc.record({ type: fc.constant('manifest' as const), hash: some, bytes }),
  fc.record({ type: fc.constant('want' as const), lsn, files: fc.array(file, { maxLength: 4 }) }),
  fc.record({ type: fc.constant('install' as const), manifestHash: some }),
  fc.record({ type: fc.constant('installed' as const), baseLsn: lsn }),
  fc.record({ type: fc.constant('heartbeat' as const), committedLsn: lsn, durableLsn: lsn }),
  fc.record({ type: fc.constant('error' as const), code: fc.stringMatching(/^[a-z.-]{1,40}$/), message: fc.string({ unit: 'grapheme' }), details }),
  fc.record({ type: fc.constant('verifySelf' as const), upTo: lsn }),
  fc.record({
    type: fc.constant('verified' as const),
    ok: fc.boolean(),
    firstBad: lsn,
    ackMode: fc.constantFrom('async' as const, 'quorum' as const, 'all' as const),
  }),
  fc.record({ type: fc.constant('challenge' as const), nonce: some }),
  fc.record({ type: fc.constant('proof' as const), mac: some }),
  fc.record({ type: fc.constant('working' as const), done: lsn }),
)
