import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeLz4Frame } from '../../../bindings/cli/formats/arrow-codecs.ts'
import { lz4FrameEncode } from '../../../bindings/kernels/index.ts'

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 4096 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 3000 }))
    .map(([part, times]) => Uint8Array.from({ length: part.length * times }, (_, i) => part[i % part.length]!)),
)

describe('LZ4 frames for apache-arrow', () => {
  it('decodes what the kernel encodes, with padding behind it', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 0, max: 7 }), (data, padding) => {
        const frame = lz4FrameEncode(data)
        const padded = new Uint8Array(frame.length + padding)
        padded.set(frame)
        expect(Buffer.compare(decodeLz4Frame(padded), data)).toBe(0)
      }),
    )
  })

  it('decodes a frame of the reference tool whose blocks refer to earlier ones', () => {
    // Written by hand after the frame format: linked blocks, no content size. "abcdefgh" stored raw, then one match of 8 bytes 8 back and 5 literals.
    const block = Uint8Array.of(0x04, 8, 0, 0x50, 0x31, 0x32, 0x33, 0x34, 0x35)
    const frame = Uint8Array.from([
      0x04,
      0x22,
      0x4d,
      0x18,
      0x40,
      0x40,
      0xc0,
      8,
      0,
      0,
      0x80,
      ...Buffer.from('abcdefgh'),
      block.length,
      0,
      0,
      0,
      ...block,
      0,
      0,
      0,
      0,
    ])
    expect(Buffer.from(decodeLz4Frame(frame)).toString()).toBe('abcdefghabcdefgh12345')
  })

  it('refuses a damaged frame or gives bytes, and never runs away', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), fc.integer({ min: 1, max: 255 }), (data, at, flip) => {
        const frame = lz4FrameEncode(data)
        frame[at % frame.length]! ^= flip
        try {
          expect(decodeLz4Frame(frame)).toBeInstanceOf(Uint8Array)
        } catch (error) {
          expect((error as Error).message).toMatch(/^Arrow data: /)
        }
      }),
    )
  })
})
