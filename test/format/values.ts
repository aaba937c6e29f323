// Values of rows as JSON that loses nothing: what stands beside a kept store.

/** Bigints, dates, bytes and what JSON numbers lack are tagged. */
export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return { $bigint: value.toString() }
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) }
  if (value instanceof Date) return { $date: value.toISOString() }
  if (value instanceof Uint8Array) return { $bytes: Array.from(value, (byte) => byte.toString(16).padStart(2, '0')).join('') }
  if (value instanceof Float32Array) return { $floats: Array.from(value, plain) }
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]))
  return value ?? null
}
