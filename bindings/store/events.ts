// store/events.ts: listeners of a store's events. A throwing listener is logged; it never reaches the writer.

import type { LogEvent } from '../runtime/index.ts'
import type { StoreEvents } from '../table/index.ts'

type Listener = (event: never) => void

export class Events {
  private readonly listeners = new Map<keyof StoreEvents, Set<Listener>>()
  private readonly log: (event: LogEvent) => void

  constructor(log: (event: LogEvent) => void) {
    this.log = log
  }

  on<E extends keyof StoreEvents>(event: E, listener: (e: StoreEvents[E]) => void): Disposable {
    let set = this.listeners.get(event)
    if (set === undefined) this.listeners.set(event, (set = new Set()))
    set.add(listener as Listener)
    return { [Symbol.dispose]: () => void set.delete(listener as Listener) }
  }

  /** Look before making an event that nobody wants. */
  wants(event: keyof StoreEvents): boolean {
    return (this.listeners.get(event)?.size ?? 0) > 0
  }

  emit<E extends keyof StoreEvents>(event: E, value: StoreEvents[E]): void {
    for (const listener of this.listeners.get(event) ?? []) {
      try {
        listener(value as never)
      } catch (cause) {
        this.log({ level: 'error', code: 'events.listener', event, cause })
      }
    }
  }
}
