// What nothing needs any more goes. Which versions are to stay is counted here, from what was committed, not asked of the store.

import type { OpKind } from '../life.ts'
import { differsInNamed, differsInPast } from '../look.ts'
import { Dice } from '../dice.ts'

/** Commits and changes of definition that stay. */
export const vacuum: OpKind<number> = {
  name: 'vacuum',
  weight: 3,
  draw: (dice) => 1 + dice.int(5),
  async run(life, versions) {
    await life.lookAtDigests()
    const before = Number(life.store.lsn)
    const { floor: told } = await life.store.vacuum({ keep: { versions } })
    const floor = Number(told)
    const all = [life.versions, ...life.named.filter(({ kind }) => kind === 'branch').map((branch) => branch.versions.slice(1))].flat().map(({ lsn }) => lsn)
    // The newest one goes on to the head.
    const oldest = versions === 1 ? Number(life.store.lsn) : (all.toSorted((a, b) => a - b).at(-versions) ?? 0)
    if (floor > oldest) throw new Error(`${versions} versions were to stay, from LSN ${oldest} on; the floor is ${floor}`)
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
