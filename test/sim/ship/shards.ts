// Seeds over threads, as they get free. Each thread runs the sources as Node does, so a run under vitest goes no slower than one of the command line.
//
// A run needs nothing but its seed, so which thread has it does not matter.

import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

import type { ShipOptions, ShipReport } from './simulate.ts'

const THIS = new URL(import.meta.url)

/** Runs seed after seed; `told` hears of each in the order in which they end. It ends early where `told` answers false. */
export async function runShards(
  runs: Iterable<ShipOptions>,
  told: (report: ShipReport) => boolean | void,
  threads: number = availableParallelism(),
): Promise<void> {
  const waiting = runs[Symbol.iterator]()
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(THIS)
      const done = (): void => {
        void worker.terminate()
        resolve()
      }
      const next = (): void => {
        const { value, done: isLast } = waiting.next() as IteratorResult<ShipOptions, undefined>
        if (isLast === true) done()
        else worker.postMessage(value)
      }
      worker.on('message', (report: ShipReport) => (told(report) === false ? done() : next()))
      worker.on('error', reject)
      next()
    })
  await Promise.all(Array.from({ length: threads }, work))
}

if (!isMainThread && parentPort !== null && import.meta.url === THIS.href && new URL(process.argv[1] ?? '', 'file:').pathname === THIS.pathname) {
  const port = parentPort
  const { simulateShip } = await import('./simulate.ts')
  port.on('message', (o: ShipOptions) => void simulateShip(o).then((report) => port.postMessage(report)))
}
