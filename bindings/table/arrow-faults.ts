// table/arrow-faults.ts: an Arrow type that cannot become the type of its column without loss.
import type { SourceType } from '../kernels/index.ts'
import type { Cell } from './cells.ts'

/** The types do not fit, whatever the values are. */
export class TypeFault extends Error {
  /** Below the column: ".seat". */
  readonly path: string
  readonly from: string
  readonly to: string
  constructor(path: string, from: string, to: string) {
    super(`Arrow ${from} cannot become ${to}`)
    this.path = path
    this.from = from
    this.to = to
  }
}

export function typeFault(from: SourceType, cell: Cell): TypeFault {
  return new TypeFault('', from.name, cell.typeName)
}
