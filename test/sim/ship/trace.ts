// What happened in a run, the last of it as text: what a failing seed prints.

const LAST = 200

export class Trace {
  readonly #lines: string[] = []
  /** Of everything that was said, so that two runs can be held against each other. */
  #hash = 0x811c9dc5
  count = 0

  say(line: string): void {
    this.count++
    for (let i = 0; i < line.length; i++) this.#hash = Math.imul(this.#hash ^ line.charCodeAt(i), 0x01000193)
    if (this.#lines.length >= 2 * LAST) this.#lines.splice(0, LAST)
    this.#lines.push(line)
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0')
  }

  last(): string[] {
    return this.#lines.slice(-LAST)
  }
}
