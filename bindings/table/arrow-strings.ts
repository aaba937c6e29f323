// table/arrow-strings.ts: which byte strings of Arrow become which column, and that what becomes text is text; strings are never decoded.
//
// Invariant: bytes of a utf8 column are valid UTF-8 and no value begins or ends inside a character.
import { ARROW, type ArrowNode, byteStrings, validityTest, type Vec } from '../kernels/index.ts'
import type { TypeFault } from './arrow-faults.ts'
import { CellFault } from './cells.ts'

/** Data and offsets of rows of a byte-string node. A text may become binary, binary no text. */
export function convertBytes(
  node: ArrowNode,
  start: number,
  count: number,
  text: boolean,
  wrongType: () => TypeFault,
): { values: Uint8Array; offsets: Int32Array } {
  switch (node.type.id) {
    case ARROW.binary:
    case ARROW.largeBinary:
    case ARROW.binaryView:
    case ARROW.fixedSizeBinary:
      if (text) throw wrongType()
      break
    case ARROW.utf8:
    case ARROW.largeUtf8:
    case ARROW.utf8View:
      break
    default:
      throw wrongType()
  }
  return byteStrings(node, start, count)
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Refuse bytes that are no UTF-8 and, for json columns, texts that do not parse. `vec`: var, offsets from 0. */
export function textCheck(vec: Vec, json: boolean): void {
  const { values } = vec
  const offsets = vec.offsets!
  if (!isAscii(values) && !isText(values, offsets, vec.length)) throw notText(vec)
  if (!json) return
  const valid = validityTest({ count: vec.nullCount, validity: vec.validity })
  for (let i = 0; i < vec.length; i++) {
    if (!valid(i)) continue
    try {
      JSON.parse(strict.decode(values.subarray(offsets[i], offsets[i + 1])))
    } catch {
      throw new CellFault(i, '', 'the text is not json')
    }
  }
}

function isAscii(bytes: Uint8Array): boolean {
  const { buffer, byteOffset, length } = bytes
  if (length < 8) {
    for (let i = 0; i < length; i++) if (bytes[i]! > 0x7f) return false
    return true
  }
  const head = (4 - (byteOffset & 3)) & 3
  const words = new Uint32Array(buffer, byteOffset + head, (length - head) >> 2)
  for (let i = 0; i < head; i++) if (bytes[i]! > 0x7f) return false
  for (let i = 0; i < words.length; i++) if ((words[i]! & 0x8080_8080) !== 0) return false
  for (let i = head + words.length * 4; i < length; i++) if (bytes[i]! > 0x7f) return false
  return true
}

/** The whole is valid and no value starts at a continuation byte: then every value is valid. */
function isText(values: Uint8Array, offsets: Int32Array, count: number): boolean {
  try {
    strict.decode(values)
  } catch {
    return false
  }
  for (let i = 0; i < count; i++) {
    const at = offsets[i]!
    if (at < values.length && (values[at]! & 0xc0) === 0x80) return false
  }
  return true
}

/** Which row it is; bytes under nulls may be anything, so the rows are looked at one by one. */
function notText(vec: Vec): CellFault {
  const valid = validityTest({ count: vec.nullCount, validity: vec.validity })
  for (let i = 0; i < vec.length; i++) {
    if (!valid(i)) continue
    try {
      strict.decode(vec.values.subarray(vec.offsets![i], vec.offsets![i + 1]))
    } catch {
      return new CellFault(i, '', 'the bytes are not UTF-8')
    }
  }
  return new CellFault(0, '', 'the bytes under a null are not UTF-8')
}
