// Where the stores of the storage-fault matrix live: both kinds of log on both local roots, and slots on what can do no more than an object store.
import { MemoryRoot, type Root } from '../../bindings/root/index.ts'
import { type SimWorld, simWorld } from '../sim/sim-world.ts'
import { type Ground, newGround } from './crash-ground.ts'

export const PLACES = ['segments on disk', 'segments in memory', 'slots on disk', 'slots in memory', 'slots in an object store'] as const
export type Place = (typeof PLACES)[number]

export function groundOf(place: Place): Ground {
  switch (place) {
    case 'segments on disk':
      return newGround('segments')
    case 'segments in memory':
      return new MemorySegments(new MemoryRoot({ loseUnsynced: 1 }))
    case 'slots on disk':
      return newGround('slots')
    case 'slots in memory':
      return newGround('memory')
    case 'slots in an object store':
      return newGround('object')
  }
}

class MemorySegments implements Ground {
  readonly layout = 'segments'
  private readonly memory: MemoryRoot

  constructor(memory: MemoryRoot) {
    this.memory = memory
  }

  async fork(): Promise<Ground> {
    const copy = new MemoryRoot({ loseUnsynced: 1 })
    for await (const { name } of this.memory.list('')) await copy.put(name, (await this.memory.get(name)).bytes)
    return new MemorySegments(copy)
  }

  cut(seed: number): Ground {
    return new MemorySegments(this.memory.crash(seed))
  }

  killed(): Ground {
    return this
  }

  world(seed: number, host: Parameters<Ground['world']>[1]): SimWorld {
    return simWorld({ seed, host })
  }

  root(): Root {
    return this.memory
  }
}
