// table/text-forms.ts: dates and uuids as the text that callers read and write.
//
// Dates are proleptic Gregorian, as ISO 8601 and Date have them, over all of int32 days; by arithmetic, since a Date per row costs more than the row
// (H. Hinnant, "chrono-compatible low-level date algorithms"). Invariant: parseDate(dateText(n)) is n.

const DAY_MS = 86_400_000
/** 400 Gregorian years. */
const DAYS_OF_ERA = 146_097
const DATE = /^(\d{4}|[+-]\d{6,7})-(\d{2})-(\d{2})$/

/** "2026-11-21" of a day number; years outside 0..9999 carry a sign and six digits or more. */
export function dateText(days: number): string {
  const z = days + 719_468
  const era = Math.floor(z / DAYS_OF_ERA)
  const doe = z - era * DAYS_OF_ERA
  const yoe = Math.floor((doe - Math.floor(doe / 1460) + Math.floor(doe / 36_524) - Math.floor(doe / 146_096)) / 365)
  const doy = doe - (365 * yoe + Math.floor(yoe / 4) - Math.floor(yoe / 100))
  const mp = Math.floor((5 * doy + 2) / 153)
  const day = doy - Math.floor((153 * mp + 2) / 5) + 1
  const month = mp < 10 ? mp + 3 : mp - 9
  const year = yoe + era * 400 + (month <= 2 ? 1 : 0)
  const yearText = year >= 0 && year <= 9999 ? String(year).padStart(4, '0') : `${year < 0 ? '-' : '+'}${String(Math.abs(year)).padStart(6, '0')}`
  return `${yearText}-${month < 10 ? '0' : ''}${month}-${day < 10 ? '0' : ''}${day}`
}

/** Days since 1970 of "2026-11-21", or undefined when that is no date. */
export function parseDate(text: string): number | undefined {
  const match = DATE.exec(text)
  if (match === null) return undefined
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  const eras = Math.floor(year / 400) - 5
  const date = new Date(Date.UTC(year - eras * 400, month - 1, day))
  // Date.UTC carries the 30th of February over into March.
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  return date.getTime() / DAY_MS + eras * DAYS_OF_ERA
}

/** Write the 16 bytes of a uuid's text; false when it is not one. */
export function putUuid(bytes: Uint8Array, at: number, text: string): boolean {
  if (text.length !== 36) return false
  let from = 0
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) {
      if (text.charCodeAt(from) !== 0x2d) return false
      from++
    }
    const high = hexDigit(text.charCodeAt(from))
    const low = hexDigit(text.charCodeAt(from + 1))
    if (high < 0 || low < 0) return false
    bytes[at + i] = (high << 4) | low
    from += 2
  }
  return true
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

/** Lower-case text of 16 bytes. */
export function uuidText(bytes: Uint8Array, at: number): string {
  let text = ''
  for (let i = 0; i < 16; i++) text += (i === 4 || i === 6 || i === 8 || i === 10 ? '-' : '') + HEX[bytes[at + i]!]!
  return text
}
