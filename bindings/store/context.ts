// store/context.ts: what every state of one store shares: readers and decoded columns by content, defaults of missing columns, deletion vectors.

import { CorruptionError } from '../errors.ts'
import { type ColumnDef, deletionVectorName, type DeletionVectorRef, filesOf, type FragmentRef, toHex } from '../format/index.ts'
import { Coverage, sha256, type Vec } from '../kernels/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { type ColumnCache, FragmentReader, missingVec, type TableState } from '../table/index.ts'
import type { StateContext } from '../engine/index.ts'

export class SharedContext implements StateContext {
  readonly seed: number
  private readonly root: Root
  private readonly cache: ColumnCache
  private readonly world: World
  private readonly readers = new Map<string, WeakRef<FragmentReader>>()
  /** Names go with their readers: a store that is optimized all the time has new fragments without end. */
  private readonly gone = new FinalizationRegistry<string>((name) => {
    // Another reader may have the name by now.
    if (this.readers.get(name)?.deref() === undefined) this.readers.delete(name)
  })

  constructor(root: Root, cache: ColumnCache, world: World) {
    this.root = root
    this.cache = cache
    this.world = world
    this.seed = world.random.u32()
  }

  readerOf(ref: FragmentRef, table: TableState): FragmentReader {
    // The same bytes can be a fragment of two tables: types differ, so the table is part of the name.
    // A reader knows its indexes: the same fragment with others is another reader, over the same decoded columns.
    const name = `${table.id}:${filesOf(ref)
      .map((file) => file.name)
      .join()}`
    const held = this.readers.get(name)?.deref()
    if (held !== undefined) return held
    const reader = new FragmentReader({
      root: this.root,
      ref,
      schema: table.schemaOf(ref.schemaVersion),
      cache: this.cache,
      missing: (column, rows) => this.missingColumn(column, rows),
      log: (event) => this.world.logger.log(event),
    })
    this.readers.set(name, new WeakRef(reader))
    this.gone.register(reader, name)
    return reader
  }

  missingColumn(column: ColumnDef, rows: number): Vec {
    return missingVec(column, rows)
  }

  async loadVector(vector: DeletionVectorRef): Promise<Uint8Array> {
    const file = deletionVectorName(vector.digest, vector.gen)
    const { bytes } = await this.root.get(file)
    const found = toHex(sha256(bytes))
    if (found !== vector.digest) throw new CorruptionError('coverage.corrupt', `${file}: digest ${found}`, { details: { file } })
    const rows = Coverage.decode(bytes, { file })
    return rows.toBitmap(rows.end)
  }
}
