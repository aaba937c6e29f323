// cli/render.ts: tables, numbers and progress for a terminal.
//
// Invariant: no control character of the data reaches the terminal; progress goes to stderr, and only when that is a terminal.

export type Align = 'left' | 'right'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const
const BAR_CELLS = 24
const REDRAW_MS = 100
const CELL_CHARACTERS_MAX = 60
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g

/** Text with control and direction characters escaped, but those of `keep`. */
export function printable(text: string, keep = ''): string {
  return text.replace(CONTROL, (c) => {
    if (keep.includes(c)) return c
    if (c === '\n') return '\\n'
    if (c === '\t') return '\\t'
    if (c === '\r') return '\\r'
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** Rows under headings; numbers are right-aligned by `aligns`. No trailing blanks. */
export function tableLines(headings: readonly string[], rows: readonly (readonly string[])[], aligns: readonly Align[] = []): string[] {
  const layout = new TableLayout(headings, rows, aligns)
  return [...layout.head(), ...rows.map((row) => layout.line(row))]
}

/** Column widths taken from some rows, used for as many as follow. */
export class TableLayout {
  readonly #headings: readonly string[]
  readonly #widths: readonly number[]
  readonly #aligns: readonly Align[]

  constructor(headings: readonly string[], rows: readonly (readonly string[])[], aligns: readonly Align[] = []) {
    this.#headings = headings
    this.#aligns = aligns
    this.#widths = headings.map((heading, i) => rows.reduce((most, row) => Math.max(most, widthOf(clip(row[i] ?? ''))), widthOf(heading)))
  }

  head(): string[] {
    return [this.line(this.#headings), this.#widths.map((width) => '─'.repeat(width)).join('  ')]
  }

  line(row: readonly string[]): string {
    const cells = this.#widths.map((width, i) => {
      const cell = clip(row[i] ?? '')
      const blank = ' '.repeat(Math.max(0, width - widthOf(cell)))
      return this.#aligns[i] === 'right' ? blank + cell : cell + blank
    })
    return cells.join('  ').trimEnd()
  }
}

/** `name  value` lines. */
export function factLines(facts: readonly (readonly [string, string])[]): string[] {
  const width = facts.reduce((most, [name]) => Math.max(most, widthOf(name)), 0)
  return facts.map(([name, value]) => `${name.padEnd(width)}  ${value}`)
}

export function countText(n: number | bigint): string {
  return n.toString().replaceAll(/\B(?=(\d{3})+(?!\d))/g, ',')
}

export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`
}

export function durationText(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`
}

/** `1,234,567 rows/s`. */
export function rateText(count: number, ms: number, what: string): string {
  return `${countText(Math.round(perSecond(count, ms)))} ${what}/s`
}

export function perSecond(count: number, ms: number): number {
  return ms <= 0 ? 0 : (count * 1000) / ms
}

/** One line that is drawn over; silent unless the stream is a terminal. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  readonly #label: string
  #drawnMs = 0
  #isShown = false

  constructor(label: string, stream: NodeJS.WriteStream = process.stderr) {
    this.#label = label
    this.#stream = stream
  }

  /** `share`: 0..1 where the whole is known. */
  update(text: string, share?: number): void {
    if (!this.#stream.isTTY) return
    const nowMs = performance.now()
    if (this.#isShown && nowMs - this.#drawnMs < REDRAW_MS) return
    this.#drawnMs = nowMs
    this.#isShown = true
    const line = `${this.#label} ${bar(share)}${text}`
    this.#stream.write(`\r${line.slice(0, Math.max(20, this.#stream.columns - 1))}\u001B[K`)
  }

  clear(): void {
    if (this.#isShown) this.#stream.write('\r\u001B[K')
    this.#isShown = false
  }
}

function bar(share: number | undefined): string {
  if (share === undefined) return ''
  const full = Math.round(Math.min(1, Math.max(0, share)) * BAR_CELLS)
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)} ${(Math.min(1, share) * 100).toFixed(0).padStart(3)} % `
}

function clip(cell: string): string {
  const text = printable(cell)
  return text.length > CELL_CHARACTERS_MAX ? `${text.slice(0, CELL_CHARACTERS_MAX - 1)}…` : text
}

/** Terminal cells, near enough: wide East Asian characters and emoji take two, combining marks none. */
function widthOf(text: string): number {
  let width = 0
  for (const c of text) {
    if (/\p{M}/u.test(c)) continue
    width += /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE4F\uFF00-\uFF60\uFFE0-\uFFE6\u{1F300}-\u{1FAFF}\u{20000}-\u{3FFFD}]/u.test(c)
      ? 2
      : 1
  }
  return width
}
