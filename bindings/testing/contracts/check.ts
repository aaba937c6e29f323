// testing/contracts/check.ts: what the contract suites need of a test runner, and plain checks, so that any runner can run them.
//
// Invariant: a failed check throws an Error that says what was expected and what was found.
import { VarveError } from '../../errors.ts'

/** vitest, node:test, Deno and Bun all offer these two. */
export interface ContractRunner {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
}

export class ContractError extends Error {
  override readonly name: string = 'ContractError'
}

export function check(condition: boolean, expected: string, found?: unknown): asserts condition {
  if (!condition) throw new ContractError(found === undefined ? expected : `${expected}; found ${show(found)}`)
}

/** Equal by structure: JSON text, with bigints and bytes spelled out. */
export function checkEqual(found: unknown, expected: unknown, what: string): void {
  const [a, b] = [show(found), show(expected)]
  if (a !== b) throw new ContractError(`${what}: expected ${shorten(b)}; found ${shorten(a)}`)
}

export function checkBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (found.length !== expected.length) throw new ContractError(`${what}: expected ${expected.length} bytes; found ${found.length}`)
  for (let i = 0; i < found.length; i++) {
    if (found[i] !== expected[i]) throw new ContractError(`${what}: byte ${i} expected ${expected[i]}; found ${found[i]}`)
  }
}

/** The promise rejects with an error that `matches`; returns it. */
export async function checkRejects(promise: Promise<unknown>, matches: (error: unknown) => boolean, expected: string): Promise<unknown> {
  let settled: unknown
  try {
    settled = await promise
  } catch (error) {
    if (matches(error)) return error
    throw new ContractError(`expected ${expected}; found ${String(error)}`, { cause: error })
  }
  throw new ContractError(`expected ${expected}; it resolved with ${shorten(show(settled))}`)
}

/** Matches a VarveError by its code. */
export function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof VarveError && error.code === code
}

export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice()))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Bytes that differ from place to place and from seed to seed. */
export function patterned(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[i] = state
  }
  return bytes
}

function show(value: unknown): string {
  return (
    JSON.stringify(value, (_key, v: unknown) => {
      if (typeof v === 'bigint') return `${v}n`
      if (v instanceof Uint8Array) return `bytes ${Array.from(v.subarray(0, 64), (byte) => byte.toString(16).padStart(2, '0')).join('')} (${v.length})`
      return v
    }) ?? String(value)
  )
}

function shorten(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}...` : text
}
