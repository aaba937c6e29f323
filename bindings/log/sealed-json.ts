// log/sealed-json.ts: small JSON files that carry their own check (LOCK, CLEAN): readable by people, never half believed.
//
// Invariant: the bytes are exactly what encodeSealed makes of the fields, `check` being the XXH3-64 of the JSON without it; one changed bit fails.
import { hash64 } from './digest.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export type SealedFields = Readonly<Record<string, string | number | boolean>>

export function encodeSealed(fields: SealedFields): Uint8Array<ArrayBuffer> {
  const check = hash64(encoder.encode(JSON.stringify(fields)))
  return encoder.encode(`${JSON.stringify({ ...fields, check: check.toString(16).padStart(16, '0') })}\n`)
}

/** @returns undefined when the bytes are not sealed JSON */
export function decodeSealed(bytes: Uint8Array): SealedFields | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(decoder.decode(bytes))
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined
  const { check, ...fields } = parsed as Record<string, string | number | boolean>
  if (check === undefined) return undefined
  const again = encodeSealed(fields)
  if (again.length !== bytes.length) return undefined
  for (let i = 0; i < again.length; i++) if (again[i] !== bytes[i]) return undefined
  return fields
}
