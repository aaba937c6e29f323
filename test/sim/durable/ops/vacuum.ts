// What nothing needs any more goes. Which versions are to stay is counted here, from what was committed, not asked of the store.

import { Dice } from '../dice.ts'
import type { OpKind } from '../life.ts'
import { differsInNamed, differsInPast } from '../look.ts'
import { optimize } from './upkeep.ts'

interface Step {
  /** Commits and changes of definition that stay. */
  readonly versions: number
  /** Rows per fragment of an optimize before it, which leaves files behind; 0: none. */
  readonly rows: number
}

export const vacuum: OpKind<Step> = {
  name: 'vacuum',
  weight: 8,
  draw: (dice) => ({ versions: 1 + dice.int(5), rows: dice.once(3) ? 0 : 1 + dice.int(60) }),
  async run(life, { versions, rows }) {
    if (rows > 0) {
      await life.store.flush()
      await optimize.run(life, rows)
    }
    await life.lookAtDigests()
    const before = Number(life.store.lsn)
    const { floor: told } = await life.store.vacuum({ keep: { versions } })
    const floor = Number(told)
    const all = [life.versions, ...life.named.filter(({ kind }) => kind === 'branch').map((branch) => branch.versions.slice(1))].flat().map(({ lsn }) => lsn)
    // The newest one goes on to the head; what an earlier vacuum gave up stays given up.
    const oldest = versions === 1 ? Number(life.store.lsn) : (all.toSorted((a, b) => a - b).at(-versions) ?? 0)
    if (floor > Math.max(oldest, life.floorAt(Infinity))) throw new Error(`${versions} versions were to stay, from LSN ${oldest} on; the floor is ${floor}`)
    life.floors.push({ from: before + 1, floor })
    life.acknowledge(Number(life.store.lsn))
    const dice = new Dice(before)
    for (let i = 0; i < 3; i++) {
      const lsn = Number(life.store.lsn)
      const wrong = (await differsInNamed(life.store, life.named, lsn, dice)) ?? (await differsInPast(life.store, life, lsn, dice))
      if (wrong !== undefined) throw new Error(wrong)
    }
  },
}
