// store/events.ts: listeners of a store's events. A throwing listener is logged; it never reaches the writer.
//
// What happens while a store opens has no listeners yet: it is kept for the first one that asks.

import { InvalidConfigError } from '../errors.ts'
import type { LogEvent } from '../runtime/index.ts'
import type { StoreEvents } from '../table/index.ts'

type Listener = (event: never) => void

const NAMES: Readonly<Record<keyof StoreEvents, true>> = {
  commit: true,
  recovered: true,
  deferred: true,
  retireDeferred: true,
  intentShadowed: true,
  checkpointFailed: true,
  checkpointInvalid: true,
  fenced: true,
  poisoned: true,
  snapshotHeld: true,
  upkeep: true,
  schema: true,
  close: true,
}

export class Events {
  private readonly listeners = new Map<keyof StoreEvents, Set<{ readonly hear: Listener }>>()
  private readonly early = new Map<keyof StoreEvents, unknown[]>()
  private readonly log: (event: LogEvent) => void

  constructor(log: (event: LogEvent) => void) {
    this.log = log
  }

  /** @throws InvalidConfigError for an event that there is not */
  on<E extends keyof StoreEvents>(event: E, listener: (e: StoreEvents[E]) => void): Disposable {
    if (!Object.hasOwn(NAMES, event) || typeof listener !== 'function') {
      throw new InvalidConfigError(`no listener of ${JSON.stringify(event)}`, { details: { key: 'event', value: event } })
    }
    const entry = { hear: listener as Listener }
    let set = this.listeners.get(event)
    if (set === undefined) this.listeners.set(event, (set = new Set()))
    set.add(entry)
    const early = this.early.get(event)
    if (early !== undefined) {
      this.early.delete(event)
      queueMicrotask(() => {
        for (const value of early) this.tell(entry.hear, event, value)
      })
    }
    return { [Symbol.dispose]: () => void set.delete(entry) }
  }

  /** Look before making an event that nobody wants. */
  wants(event: keyof StoreEvents): boolean {
    return (this.listeners.get(event)?.size ?? 0) > 0
  }

  emit<E extends keyof StoreEvents>(event: E, value: StoreEvents[E]): void {
    for (const { hear } of this.listeners.get(event) ?? []) this.tell(hear, event, value)
  }

  /** While the store opens. */
  keep<E extends keyof StoreEvents>(event: E, value: StoreEvents[E]): void {
    const kept = this.early.get(event)
    if (kept === undefined) this.early.set(event, [value])
    else kept.push(value)
  }

  private tell(hear: Listener, event: keyof StoreEvents, value: unknown): void {
    try {
      hear(value as never)
    } catch (cause) {
      this.log({ level: 'error', code: 'events.listener', event, cause })
    }
  }
}
