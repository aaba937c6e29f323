// An LZ4 frame that says it states its content size and ends before it could: the decoder of the CLI threw a RangeError of DataView instead of saying what is wrong.
import { expect, it } from 'vitest'

import { decodeLz4Frame } from '../../bindings/cli/formats/arrow-codecs.ts'

it('a frame shorter than its own header is refused by name', () => {
  const magic = [0x04, 0x22, 0x4d, 0x18]
  for (const flags of [0x68, 0x69, 0x61]) {
    for (let length = 7; length < 19; length++) {
      const frame = new Uint8Array(length)
      frame.set([...magic, flags])
      const header = 7 + ((flags & 8) === 0 ? 0 : 8) + ((flags & 1) === 0 ? 0 : 4)
      if (length < header + 4) expect(() => decodeLz4Frame(frame), `${length} bytes, flags ${flags}`).toThrow(/^Arrow data: an LZ4 frame/)
      else expect(decodeLz4Frame(frame)).toHaveLength(0)
    }
  }
})
