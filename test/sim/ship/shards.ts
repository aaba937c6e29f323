// Seeds over processes, as they get free. Each runs the sources as Node does, so a run under vitest goes no slower than one of the command line.
//
// A run needs nothing but its seed, so which process has it does not matter. Each has a core of its own: helpers of its collector would only take that of another,
// and what a run makes is garbage by the time a larger young generation is full.

import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

import type { ShipOptions, ShipReport } from './simulate.ts'

const THIS = fileURLToPath(import.meta.url)
const FLAGS = ['--single-threaded-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', '--initial-old-space-size=256', '--no-memory-reducer']
// The memories of kernels and the files of disks are no reason to go through some fifty MiB of objects, once a seed. V8 of Node 22 does not have it.
if (Number.parseInt(process.versions.node, 10) >= 24) FLAGS.push('--external-memory-accounted-in-global-limit')

/** Runs seed after seed; `told` hears of each in the order in which they end. It ends early where `told` answers false. */
export async function runShards(
  runs: Iterable<ShipOptions>,
  told: (report: ShipReport) => boolean | void,
  processes: number = availableParallelism(),
): Promise<void> {
  const waiting = runs[Symbol.iterator]()
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const shard = fork(THIS, { execArgv: FLAGS })
      const done = (): void => {
        shard.kill()
        resolve()
      }
      const next = (): void => {
        const { value, done: isLast } = waiting.next() as IteratorResult<ShipOptions, undefined>
        if (isLast === true) done()
        else shard.send(value)
      }
      shard.on('message', (report: ShipReport) => (told(report) === false ? done() : next()))
      shard.on('error', reject)
      shard.on('exit', (code) => reject(new Error(`a process of the simulation ended with code ${code}`)))
      next()
    })
  await Promise.all(Array.from({ length: processes }, work))
}

if (process.send !== undefined && process.argv[1] === THIS) {
  const { simulateShip } = await import('./simulate.ts')
  process.on('message', (o: ShipOptions) => void simulateShip(o).then((report) => process.send!(report)))
  // Whoever asked is gone.
  process.on('disconnect', () => process.exit())
}
