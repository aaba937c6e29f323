// runtime/ids.ts: ULIDs (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits, 26 characters of Crockford base 32; byte order is time order.
//
// Invariant: ids made in one world ascend strictly, also within a millisecond and when the wall clock steps back.
import { assert } from '../assert.ts'
import { InvalidNameError } from '../errors.ts'

import type { World } from './world.ts'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const TEXT_LENGTH = 26
export const ULID_BYTES = 16
const TIME_BYTES = 6
const TIME_MAX = 2 ** 48 - 1

const DIGIT = new Map(Array.from(ALPHABET, (char, value) => [char, value] as const))

/** The last id of each world: its clock and its randomness make the next one. */
const lastOf = new WeakMap<object, Uint8Array>()

type UlidSource = Pick<World, 'clock' | 'random'>

/** A new id as text. @example const writeId = newUlid(world) */
export function newUlid(world: UlidSource): string {
  return ulidText(newUlidBytes(world))
}

/** A new id in its 16-byte form. */
export function newUlidBytes(world: UlidSource): Uint8Array {
  const nowMs = Math.floor(world.clock.nowMs())
  assert(nowMs >= 0 && nowMs <= TIME_MAX, 'the clock fits 48 bits', nowMs)
  const last = lastOf.get(world.random)
  const next = last !== undefined && nowMs <= ulidMs(last) ? successor(last) : fresh(nowMs, world)
  lastOf.set(world.random, next)
  return next.slice()
}

/** Milliseconds since 1970 in an id. */
export function ulidMs(id: Uint8Array): number {
  let ms = 0
  for (let i = 0; i < TIME_BYTES; i++) ms = ms * 256 + id[i]!
  return ms
}

/** 16 bytes to 26 characters. */
export function ulidText(id: Uint8Array): string {
  assert(id.length === ULID_BYTES, 'a binary ulid has 16 bytes', id.length)
  let text = ''
  // 128 bits behind two zero bits make 26 groups of five; `bits` holds what is not yet printed.
  let bits = 0
  let held = 2
  for (let i = 0; i < ULID_BYTES; i++) {
    bits = (bits << 8) | id[i]!
    held += 8
    while (held >= 5) {
      held -= 5
      text += ALPHABET[(bits >>> held) & 31]
    }
    bits &= (1 << held) - 1
  }
  return text
}

/** 26 characters (either case) to 16 bytes. @throws InvalidNameError when it is no ULID */
export function ulidBytes(text: string): Uint8Array {
  if (typeof text !== 'string') throw notUlid(text)
  const upper = text.toUpperCase()
  if (upper.length !== TEXT_LENGTH || (DIGIT.get(upper[0]!) ?? 8) > 7) throw notUlid(text)
  const id = new Uint8Array(ULID_BYTES)
  let bits = 0
  let held = -2
  let at = 0
  for (const char of upper) {
    const digit = DIGIT.get(char)
    if (digit === undefined) throw notUlid(text)
    bits = (bits << 5) | digit
    held += 5
    if (held >= 8) {
      held -= 8
      id[at++] = bits >>> held
      bits &= (1 << held) - 1
    }
  }
  return id
}

function fresh(nowMs: number, world: UlidSource): Uint8Array {
  const id = new Uint8Array(ULID_BYTES)
  for (let i = TIME_BYTES - 1, rest = nowMs; i >= 0; i--, rest = Math.floor(rest / 256)) id[i] = rest % 256
  id.set(world.random.bytes(ULID_BYTES - TIME_BYTES), TIME_BYTES)
  return id
}

/** The id plus one; a carry out of the random part steps the time, which stays in order. */
function successor(last: Uint8Array): Uint8Array {
  const id = last.slice()
  for (let i = ULID_BYTES - 1; i >= 0; i--) {
    id[i] = (id[i]! + 1) & 255
    if (id[i] !== 0) break
  }
  return id
}

function notUlid(text: string): InvalidNameError {
  return new InvalidNameError(`not a ULID: ${JSON.stringify(text)}`, { details: { name: text } })
}
