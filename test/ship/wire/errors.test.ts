// Errors on the wire: every code of the two lists comes back as its class; what is of no list is a TransportError.
import { describe, expect, it } from 'vitest'

import { ByteReader, DecodeError, decodeMessage, encodeMessage, type Message, ShipFrameError } from '../../../bindings/format/index.ts'
import * as errors from '../../../bindings/errors.ts'
import * as shipErrors from '../../../bindings/errors-ship.ts'
import { errorMessage, errorOf, frameFault } from '../../../bindings/ship/error-frame.ts'

const INFOS = Object.entries({ ...errors.CODES, ...shipErrors.SHIP_CODES })
const CLASSES = { ...errors, ...shipErrors } as unknown as Record<string, new () => unknown>

/** Over the wire and back. */
function travelled(error: unknown): errors.VarveError {
  const { head } = encodeMessage(errorMessage(error))
  return errorOf(decodeMessage(17, new ByteReader(head.subarray(32))) as Extract<Message, { type: 'error' }>)
}

describe('errors on the wire', () => {
  it.each(INFOS)('%s is rebuilt as its class, kind and hint', (code, info) => {
    // What its own class asks of details is not there: a peer of another version.
    const error = errorOf({ type: 'error', code, message: 'm', details: { lsn: 5n, steps: [], conflicts: [], keys: [] } })
    expect(error).toBeInstanceOf(CLASSES[info.class])
    expect([error.code, error.kind, error.hint, error.message]).toEqual([code, info.kind, info.hint, 'm'])
  })

  it('keeps details as properties of the class', () => {
    const gap = travelled(new shipErrors.GapError('gap', { details: { expected: 5n, got: 2n ** 60n } }))
    expect(gap).toMatchObject({ expected: 5n, got: 2n ** 60n })
    const storage = travelled(new errors.StorageError('no', { details: { op: 'get', name: 'x', class: 'notFound' } }))
    expect(storage).toMatchObject({ code: 'root.not-found', class: 'notFound', op: 'get' })
    const corrupt = travelled(new errors.CorruptionError('fragment.corrupt', 'bad', { details: { file: 'f', lsn: 7n } }))
    expect(corrupt).toMatchObject({ code: 'fragment.corrupt', file: 'f', lsn: 7n })
    const fenced = travelled(new errors.FencedError('newer', { details: { scope: 'primary', held: 3n, seen: 4n } }))
    expect(fenced).toBeInstanceOf(errors.FencedError)
    expect(fenced).toMatchObject({ scope: 'primary', held: 3n, seen: 4n })
  })

  it('names a code that this side does not know', () => {
    for (const code of ['ship.from-the-future', 'constructor', 'toString', '__proto__']) {
      const error = errorOf({ type: 'error', code, message: 'm', details: { a: 1 } })
      expect(error).toBeInstanceOf(shipErrors.TransportError)
      expect(error.details).toMatchObject({ code })
    }
  })

  it('says nothing of errors that are not its own, and cuts what is too long', () => {
    expect(errorMessage(new TypeError('secret'))).toEqual({ type: 'error', code: 'ship.transport', message: 'internal error: TypeError', details: {} })
    expect(errorMessage('secret')).toMatchObject({ message: 'internal error' })
    const long = travelled(new shipErrors.TransportError('x'.repeat(100_000), { details: { text: 'y'.repeat(100_000) } }))
    expect([long.message.length, long.details]).toEqual([4096, {}])
  })

  it('maps what a frame was refused for to its class', () => {
    const faults = {
      'too-large': 'ship.frame-too-large',
      checksum: 'ship.frame-checksum',
      truncated: 'ship.truncated-frame',
      unknown: 'ship.unknown-frame',
    } as const
    for (const [fault, code] of Object.entries(faults))
      expect(frameFault(new ShipFrameError(fault as keyof typeof faults, 'm'))).toMatchObject({ code, message: 'm' })
    expect(frameFault(new DecodeError('m', 3))).toMatchObject({ code: 'ship.unknown-frame' })
    const other = new Error('other')
    expect(frameFault(other)).toBe(other)
  })
})
