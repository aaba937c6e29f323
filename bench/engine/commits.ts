// bench/engine/commits.ts: durable commits of one row: one writer, and 256 callers in flight. Every commit of every contender is counted afterwards.
import { commitLoop, type Contender, type Database } from '../contender.ts'
import { contest, type Entry, verify } from '../contest.ts'
import { cpuMicros, freshFolder, loopDelay } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { type Suite, takingPart } from '../suite.ts'

const IN_FLIGHT = 256

export async function commits(suite: Suite): Promise<void> {
  await commitTask(suite, 'commit-1', 1)
  await commitTask(suite, 'commit-256', IN_FLIGHT)
}

async function commitTask(suite: Suite, name: string, lanes: number): Promise<void> {
  const runners = await Promise.all(takingPart(suite, name).map((contender) => Runner.start(contender, lanes)))
  const { rounds, turnMs } = suite.sizes
  for (const runner of runners) await runner.warm(turnMs / 5)
  suite.add(
    await contest(
      name,
      'commits/s',
      rounds,
      runners.map((runner) => runner.entry(turnMs)),
    ),
  )
  for (const runner of runners) suite.fact(`cpu-per-commit.${name}.${runner.name}`, `${rounded(medianOf(runner.cpuPerCommit))} µs`)
  suite.fact(`loop-delay.${name}`, await loopDelay(() => runners[0]!.run(turnMs)))
  for (const runner of runners) await runner.end()
}

class Runner {
  readonly name: string
  readonly cpuPerCommit: number[] = []
  readonly #db: Database
  readonly #lanes: number
  #next = 0

  private constructor(name: string, db: Database, lanes: number) {
    this.name = name
    this.#db = db
    this.#lanes = lanes
  }

  static async start(contender: Contender, lanes: number): Promise<Runner> {
    return new Runner(contender.name, await contender.open(freshFolder()), lanes)
  }

  async warm(ms: number): Promise<void> {
    await this.run(ms)
  }

  entry(turnMs: number): Entry {
    return {
      name: this.name,
      turn: async () => {
        let ran: Awaited<ReturnType<typeof commitLoop>> | undefined
        const cpu = await cpuMicros(async () => {
          ran = await this.run(turnMs)
        })
        const { commits: operations, ms, latencies } = ran!
        this.cpuPerCommit.push(cpu / operations)
        return { ms, operations, latencies }
      },
    }
  }

  async run(ms: number): Promise<Awaited<ReturnType<typeof commitLoop>>> {
    const ran = await commitLoop(this.#db, this.#next, this.#lanes, ms)
    this.#next += ran.commits
    return ran
  }

  async end(): Promise<void> {
    const count = await this.#db.count()
    verify(count === this.#next, `${this.name} holds ${count} of ${this.#next} commits`)
    const last = await this.#db.get(this.#next - 1)
    verify(last?.origin !== undefined, `${this.name}: the last commit is there`)
    await this.#db.close()
  }
}
