// cli/demo/report.ts: what the demo says and what it has checked.
//
// Invariant: a claim is printed with its proof or as failed; one failed claim fails the demo.
import type { Output } from '../output.ts'

export interface Claim {
  readonly claim: string
  readonly ok: boolean
  readonly expected?: unknown
  readonly found?: unknown
}

export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly text: string
}

export class Report {
  readonly claims: Claim[] = []
  readonly figures: Figure[] = []
  readonly #out: Output
  readonly #isQuiet: boolean
  #step = 0

  constructor(out: Output, isQuiet: boolean) {
    this.#out = out
    this.#isQuiet = isQuiet
  }

  get ok(): boolean {
    return this.claims.every(({ ok }) => ok)
  }

  async step(title: string): Promise<void> {
    await this.say(['', `${++this.#step}. ${title}`])
  }

  async say(lines: readonly string[]): Promise<void> {
    if (!this.#isQuiet) await this.#out.lines(lines.map((line) => (line === '' || /^\d+\. /.test(line) ? line : `   ${line}`)))
  }

  /** Both sides, compared as they print. */
  async check(claim: string, expected: unknown, found: unknown): Promise<void> {
    const ok = text(expected) === text(found)
    this.claims.push(ok ? { claim, ok, found } : { claim, ok, expected, found })
    await this.say([ok ? `✓ ${claim}` : `✗ ${claim}: expected ${text(expected)}, found ${text(found)}`])
  }

  figure(name: string, value: number, unit: string, shown: string): void {
    this.figures.push({ name, value, unit, text: shown })
  }
}

function text(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item)) ?? 'nothing'
}
