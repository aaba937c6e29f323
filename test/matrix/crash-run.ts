// One run of a kind of write: its steps, what the caller was told of each, and every state that may be there in the end.
//
// Invariant: a step that resolved has happened, one that failed with a definite error has not; only of those that were under way at the end, and of those that
// say so themselves (outcome unknown, poisoned), both are possible.
import { CommitOutcomeUnknownError, type Lsn, PoisonedError, type Store, type StagedWrite, VarveError, type WriteId } from '../../bindings/index.ts'
import { newUlid } from '../../bindings/runtime/index.ts'
import type { FailpointAction, FailpointName } from '../../bindings/testing/index.ts'
import { type Ground, Process } from './crash-ground.ts'
import { after, type Effect, type Rows, textOf } from './crash-rows.ts'

/** plain: one commit or none; the others move a held write: seal keeps it, publish brings its rows (and seals first), rollback ends it. */
type StepKind = 'plain' | 'seal' | 'publish' | 'rollback'

export interface Step {
  readonly name: string
  readonly kind: StepKind
  readonly effect: Effect | undefined
  /** undefined: it has none, or is none of the caller's. */
  readonly writeId: WriteId | undefined
  state: 'started' | 'done' | 'failed'
  error?: unknown
}

export interface Possible {
  readonly rows: Rows
  /** A sealed write waits for its user. */
  readonly held: boolean
  /** Steps of it that brought rows. */
  readonly applied: number
}

export class Run {
  readonly ground: Ground
  readonly alive: Set<number>
  process: Process
  steps: Step[] = []
  rows: Rows
  held: WriteId | undefined
  /** A position that a later step goes back to. */
  mark: Lsn | undefined
  write: StagedWrite | undefined
  isHeld = false

  /** @param alive  pids of the processes on its host */
  constructor(ground: Ground, process: Process, rows: Rows, alive: Set<number>) {
    this.alive = alive
    this.ground = ground
    this.process = process
    this.rows = rows
  }

  get store(): Store {
    return this.process.store
  }

  newId(): WriteId {
    return newUlid(this.process.sim.world) as WriteId
  }

  /** One commit with this id. */
  async commit<T>(name: string, effect: Effect | undefined, call: (o: { writeId: WriteId }) => Promise<T>): Promise<T> {
    const writeId = this.newId()
    return this.step({ name, kind: 'plain', effect, writeId, state: 'started' }, () => call({ writeId }))
  }

  /** Without an id of ours; mostly nothing that a reader could see. */
  async quiet<T>(name: string, call: () => Promise<T>, effect?: Effect): Promise<T> {
    return this.step({ name, kind: 'plain', effect, writeId: undefined, state: 'started' }, call)
  }

  async decide<T>(kind: 'seal' | 'publish' | 'rollback', effect: Effect | undefined, call: () => Promise<T>): Promise<T> {
    return this.step({ name: kind, kind, effect, writeId: this.held, state: 'started' }, call)
  }

  private async step<T>(step: Step, call: () => Promise<T>): Promise<T> {
    this.steps.push(step)
    try {
      const result = await call()
      step.state = 'done'
      return result
    } catch (error) {
      step.state = 'failed'
      step.error = error
      throw error
    }
  }

  /** Everything up to here is what the next part begins with: its rows are there for good. */
  settle(promised?: Effect): void {
    for (const { effect, state } of this.steps) if (state === 'done') this.rows = after(this.rows, effect)
    this.rows = after(this.rows, promised)
    this.isHeld =
      this.steps.some(({ kind, state }) => kind === 'seal' && state === 'done') && !this.steps.some(({ kind }) => kind === 'publish' || kind === 'rollback')
    this.steps = []
  }

  /** The process dies at the first arrival there; to be followed by `next`. */
  async dieAt(name: FailpointName, work: () => Promise<unknown>, o: FailpointAction = {}): Promise<void> {
    const { points } = this.process
    using _armed = points.arm(name, { crash: true, times: 1, ...o })
    await Promise.race([work(), points.crashed])
    this.process.gone()
  }

  possible(): Possible[] {
    let states: Possible[] = [{ rows: this.rows, held: this.isHeld, applied: 0 }]
    for (const step of this.steps) states = distinct(states.flatMap((state) => outcomesOf(step, state)))
    return states
  }

  get failure(): unknown {
    return this.steps.find(({ state }) => state === 'failed')?.error
  }
}

function outcomesOf(step: Step, state: Possible): Possible[] {
  const done = moved(step, state)
  if (step.state === 'done') return [done]
  if (step.kind === 'plain') return isUnknown(step) ? [state, done] : [state]
  // A held write is decided step by step; publish() seals first.
  if (step.kind === 'publish' && !state.held) return [state, { ...state, held: true }, done]
  return [state, done]
}

function moved({ kind, effect }: Step, state: Possible): Possible {
  const rows = after(state.rows, effect)
  const applied = state.applied + (effect === undefined ? 0 : 1)
  return { rows, applied, held: kind === 'plain' ? state.held : kind === 'seal' }
}

/** Whether the store itself left the outcome open. */
export function isUnknown({ state, error }: Pick<Step, 'state' | 'error'>): boolean {
  return state === 'started' || error instanceof CommitOutcomeUnknownError || error instanceof PoisonedError
}

export function nameOf(error: unknown): string {
  return error instanceof VarveError ? error.name : `raw ${error instanceof Error ? error.name : typeof error}`
}

function distinct(states: readonly Possible[]): Possible[] {
  const seen = new Map<string, Possible>()
  for (const state of states) seen.set(`${state.held} ${state.applied} ${textOf(state.rows)}`, state)
  return [...seen.values()]
}
