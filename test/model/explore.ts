// A small explicit-state model checker: all interleavings of atomic steps, breadth first, each distinct state once.
//
// A model is a start state (plain JSON data) and the steps that are possible in a state. Every state is checked when it is first reached; what is found is
// shown as the shortest schedule that leads there. Invariant: states are told apart by their whole JSON text, never by a hash of it, so none is skipped.

export interface Model<S> {
  readonly name: string
  readonly start: S
  /** Offers every atomic step of `state`. The effect changes a private copy; returning false says that the step was not possible after all. */
  steps(state: S, step: (label: string, effect: (draft: S) => boolean | void) => void): void
  /** What is wrong in this state; undefined = nothing. */
  check(state: S): string | undefined
  /** Brings states that differ only in names into one form, in place. */
  canonical?(draft: S): void
  /** States that must stay reachable from everywhere (checked when the whole space was explored). */
  goal?(state: S): boolean
}

export interface Exploration {
  readonly model: string
  readonly states: number
  readonly transitions: number
  /** Steps of the longest shortest schedule. */
  readonly depth: number
  /** False when `maxStates` ended it, or a violation did. */
  readonly complete: boolean
  readonly violation: Violation | undefined
}

export interface Violation {
  readonly what: string
  readonly schedule: readonly string[]
}

export interface ExploreOptions {
  /** Default 2 million. */
  readonly maxStates?: number
  /** Seek a violation again without `canonical`, so that its schedule names who is who. Default true. */
  readonly readable?: boolean
}

export function explore<S>(model: Model<S>, o: ExploreOptions = {}): Exploration {
  const space = new Space(model.goal !== undefined)
  const maxStates = o.maxStates ?? 2_000_000
  let violation: Violation | undefined
  let transitions = 0
  const goals: number[] = []
  const meet = (draft: S, from: number, label: string): void => {
    model.canonical?.(draft)
    const { index, isNew } = space.add(JSON.stringify(draft), from, label)
    if (!isNew) return
    const what = model.check(draft)
    if (what !== undefined) violation ??= { what, schedule: space.schedule(index) }
    if (model.goal?.(draft) === true) goals.push(index)
  }
  meet(structuredClone(model.start), -1, 'start')
  let at = 0
  for (; at < space.size && space.size < maxStates && violation === undefined; at++) {
    const key = space.key(at)
    model.steps(JSON.parse(key) as S, (label, effect) => {
      const draft = JSON.parse(key) as S
      if (effect(draft) === false) return
      transitions++
      meet(draft, at, label)
    })
  }
  if (violation !== undefined && model.canonical !== undefined && o.readable !== false) {
    const { canonical: _, ...plain } = model
    violation = explore(plain as Model<S>, { maxStates: 4 * maxStates }).violation ?? violation
  }
  const complete = at === space.size && violation === undefined
  if (complete && model.goal !== undefined) {
    const stuck = space.unableToReach(goals)
    if (stuck !== undefined) violation = { what: 'no schedule from here reaches a goal', schedule: space.schedule(stuck) }
  }
  return { model: model.name, states: space.size, transitions, depth: space.depth, complete, violation }
}

/** One random path of the model, of at most `length` steps; for replays against the code. */
export function walk<S>(model: Model<S>, random: { u32(): number }, length: number, visit: (label: string, state: S) => void): S {
  let state = structuredClone(model.start)
  for (let i = 0; i < length; i++) {
    const options: { label: string; draft: S }[] = []
    const key = JSON.stringify(state)
    model.steps(state, (label, effect) => {
      const draft = JSON.parse(key) as S
      if (effect(draft) !== false) options.push({ label, draft })
    })
    if (options.length === 0) break
    const next = options[random.u32() % options.length]!
    state = next.draft
    visit(next.label, state)
  }
  return state
}

/** A line for the test's output. */
export function summary({ model, states, transitions, depth, complete }: Exploration): string {
  return `model ${model}: ${states} states, ${transitions} transitions, depth ${depth}, ${complete ? 'explored whole' : 'not explored whole'}`
}

/** The counterexample as text, one step a line. */
export function describe(found: Exploration): string {
  const { violation } = found
  if (violation === undefined) return `${summary(found)}: nothing found`
  return [`model ${found.model}: ${violation.what}`, ...violation.schedule.map((label, i) => `  ${String(i).padStart(3)}  ${label}`)].join('\n')
}

/** Whether the environment asks for the larger bounds. */
export const LARGE: boolean = process.env['VARVE_MODEL'] === 'large'

/** The states seen, with the step that first led to each, and the edges between them when somebody will ask who reaches whom. */
class Space {
  readonly #index = new Map<string, number>()
  readonly #keys: string[] = []
  readonly #parent: number[] = []
  readonly #label: string[] = []
  readonly #depth: number[] = []
  readonly #edges: { from: number[]; to: number[] } | undefined
  depth = 0

  constructor(keepsEdges: boolean) {
    this.#edges = keepsEdges ? { from: [], to: [] } : undefined
  }

  get size(): number {
    return this.#keys.length
  }

  key(index: number): string {
    return this.#keys[index]!
  }

  add(key: string, from: number, label: string): { index: number; isNew: boolean } {
    let index = this.#index.get(key)
    const isNew = index === undefined
    if (index === undefined) {
      index = this.#keys.length
      this.#index.set(key, index)
      this.#keys.push(key)
      this.#parent.push(from)
      this.#label.push(label)
      const depth = from < 0 ? 0 : this.#depth[from]! + 1
      this.#depth.push(depth)
      this.depth = Math.max(this.depth, depth)
    }
    if (from >= 0 && this.#edges !== undefined) {
      this.#edges.from.push(from)
      this.#edges.to.push(index)
    }
    return { index, isNew }
  }

  schedule(index: number): string[] {
    const labels: string[] = []
    for (let at = index; at >= 0; at = this.#parent[at]!) labels.push(this.#label[at]!)
    return labels.reverse()
  }

  /** The first state from which none of `goals` can be reached. */
  unableToReach(goals: readonly number[]): number | undefined {
    const { from, to } = this.#edges!
    // Edges by target: counted, then laid out one after the other.
    const starts = new Uint32Array(this.size + 1)
    for (const target of to) starts[target + 1]!++
    for (let i = 0; i < this.size; i++) starts[i + 1]! += starts[i]!
    const sources = new Uint32Array(to.length)
    const fill = starts.slice()
    for (let i = 0; i < to.length; i++) sources[fill[to[i]!]!++] = from[i]!
    const reaches = new Uint8Array(this.size)
    const stack = [...goals]
    for (const goal of goals) reaches[goal] = 1
    while (stack.length > 0) {
      const at = stack.pop()!
      for (let i = starts[at]!; i < starts[at + 1]!; i++) {
        const source = sources[i]!
        if (reaches[source] === 1) continue
        reaches[source] = 1
        stack.push(source)
      }
    }
    const stuck = reaches.indexOf(0)
    return stuck < 0 ? undefined : stuck
  }
}
