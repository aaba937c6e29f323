// Values of apache-arrow's Data as golden.ts has them: from the buffers, exactly, so that no getter rounds or converts.
import { type Data, DataType, type Table, type Vector } from 'apache-arrow'
import type { Value } from './golden.ts'

/** All values of a column. */
export function columnValues(table: Table, name: string): Value[] {
  return vectorValues(table.getChild(name)!)
}

function vectorValues(vector: Vector): Value[] {
  return vector.data.flatMap((data) => Array.from({ length: data.length }, (_, row) => valueOf(data, row)))
}

function valueOf(data: Data, row: number): Value {
  const { type, values, valueOffsets, nullBitmap, children, offset } = data
  const bit = offset + row
  if (DataType.isNull(type)) return null
  if (nullBitmap !== undefined && nullBitmap.length > 0 && data.nullCount > 0 && ((nullBitmap[bit >> 3]! >> (bit & 7)) & 1) === 0) return null
  const bytes = (): string => Buffer.from(values.subarray(Number(valueOffsets[row]), Number(valueOffsets[row + 1])) as Uint8Array).toString('hex')
  const items = (start: number, end: number): Value[] => Array.from({ length: end - start }, (_, i) => valueOf(children[0]!, start + i))
  if (DataType.isDictionary(type)) {
    const entries = vectorValues(data.dictionary as Vector)
    return entries[Number(values[row])]!
  }
  if (DataType.isBool(type)) return ((values[bit >> 3]! >> (bit & 7)) & 1) === 1
  if (DataType.isUtf8(type)) return new TextDecoder('utf-8', { fatal: true }).decode(values.subarray(valueOffsets[row], valueOffsets[row + 1]) as Uint8Array)
  if (DataType.isBinary(type)) return bytes()
  if (DataType.isFixedSizeBinary(type)) {
    return Buffer.from(values.subarray(row * type.byteWidth, (row + 1) * type.byteWidth) as Uint8Array).toString('hex')
  }
  if (DataType.isDecimal(type)) {
    const words = values.subarray(row * 4, row * 4 + 4) as unknown as Uint32Array
    return BigInt.asIntN(
      128,
      words.reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n),
    )
  }
  if (DataType.isList(type)) return items(valueOffsets[row]!, valueOffsets[row + 1]!)
  if (DataType.isFixedSizeList(type)) return items(row * type.listSize, (row + 1) * type.listSize)
  if (DataType.isStruct(type)) return type.children.map((field, i) => [field.name, valueOf(children[i]!, row)] as const)
  if (DataType.isInt(type) || DataType.isFloat(type) || DataType.isDate(type) || DataType.isTime(type) || DataType.isTimestamp(type)) {
    return values[row] as number | bigint
  }
  throw new Error(`a value of type ${String(type)}`)
}
