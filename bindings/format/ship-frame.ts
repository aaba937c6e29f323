// format/ship-frame.ts: the frame of shipping's connections (docs/shipping.md "Frames"), and a decoder that is fed what arrives, in pieces of any size.
//
//   0        4      5       6     8       16        24       28      32        (bytes)
//   +--------+------+-------+-----+-------+---------+--------+-------+---------+
//   | length | type | flags | 0   | epoch | session | crc32c | check | fields… |   little-endian; length = everything behind itself
//   +--------+------+-------+-----+-------+---------+--------+-------+---------+
//                                                            |--- payload -----|
// Invariant: a frame is handed out only when all of it verified: crc32c covers the payload, and the payload begins with `check`, the CRC-32C of bytes 4 .. 24,
// so that a damaged type, epoch or session is never taken for another one. A message longer than a frame is several frames of one header, all but the last
// with flag `more`.
import { crc32c, lz4BlockDecode, lz4BlockEncode } from '../kernels/index.ts'
import { readU53, writeU53 } from './frame.ts'

/** The largest `length`. */
export const SHIP_FRAME_BYTES_MAX: number = 16 * 1024 * 1024 + 64
/** The largest message, of however many frames: a record of the log has at most 64 MiB, a manifest some hundred bytes a file. */
export const SHIP_MESSAGE_BYTES_MAX: number = 256 * 1024 * 1024
/** Up to the payload. */
export const SHIP_HEADER_BYTES = 28
/** Beginning of every payload. */
export const SHIP_CHECK_BYTES = 4

/** The payload behind `check` is `u32 length | LZ4 block`. */
const FLAG_LZ4 = 1
/** The message goes on in the next frame. */
const FLAG_MORE = 2
const LENGTH_BYTES = 4
const BEHIND_LENGTH_BYTES: number = SHIP_HEADER_BYTES - LENGTH_BYTES
const EPOCH_AT = 8
const SESSION_AT = 16
const CRC_AT = 24
/** What a frame can hold behind `check`. */
const BODY_BYTES_MAX: number = SHIP_FRAME_BYTES_MAX - BEHIND_LENGTH_BYTES - SHIP_CHECK_BYTES
/** Below it a block saves no packet. */
const LZ4_BYTES_MIN = 1024
/** A part that is shorter is copied beside the header: two writes cost more than the copy. */
const COPIED_BYTES_MAX = 8 * 1024

/** Why a connection's bytes are not believed; ship/ has a class for each. */
export type ShipFrameFault = 'too-large' | 'checksum' | 'unknown' | 'truncated'

export class ShipFrameError extends Error {
  override readonly name: string = 'ShipFrameError'
  readonly fault: ShipFrameFault
  constructor(fault: ShipFrameFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.fault = fault
  }
}

/** One message, undecoded. */
export interface ShipFrame {
  readonly type: number
  readonly epoch: number
  readonly session: number
  /** The fields: behind `check`, not compressed. A view of what arrived, or bytes of its own. */
  readonly body: Uint8Array
}

/**
 * The frame or frames of one message, as parts to be written one after the other; long parts are the caller's bytes themselves.
 *
 * @param head  the fields; its first 32 bytes are room for the header and are overwritten
 * @param tail  bytes that follow the fields
 */
export function encodeShipFrame(frame: Omit<ShipFrame, 'body'>, head: Uint8Array, tail?: Uint8Array, o: { readonly lz4?: boolean } = {}): Uint8Array[] {
  const fields = SHIP_HEADER_BYTES + SHIP_CHECK_BYTES
  const bodyBytes = head.length - fields + (tail?.length ?? 0)
  if (bodyBytes > SHIP_MESSAGE_BYTES_MAX) throw new RangeError(`a message of ${bodyBytes} bytes: ${SHIP_MESSAGE_BYTES_MAX} at most`)
  if (o.lz4 === true && bodyBytes >= LZ4_BYTES_MIN && bodyBytes <= BODY_BYTES_MAX) {
    const packed = packedPart(frame, joined(head.subarray(fields), tail))
    if (packed !== undefined) return [packed]
  }
  if (bodyBytes <= BODY_BYTES_MAX) {
    if (tail === undefined || tail.length === 0) return [sealed(frame, 0, head)]
    if (tail.length > COPIED_BYTES_MAX) return [sealed(frame, 0, head, tail), tail]
    const whole = new Uint8Array(head.length + tail.length)
    whole.set(head)
    whole.set(tail, head.length)
    return [sealed(frame, 0, whole)]
  }
  const body = joined(head.subarray(fields), tail)
  const step = BODY_BYTES_MAX
  const parts: Uint8Array[] = []
  for (let at = 0; at < body.length; at += step) {
    const part = body.subarray(at, at + step)
    parts.push(sealed(frame, at + step < body.length ? FLAG_MORE : 0, new Uint8Array(fields), part), part)
  }
  return parts
}

/** Fills in the header of a payload that is `head` from byte 28 on, and `tail`. */
function sealed(frame: Omit<ShipFrame, 'body'>, flags: number, head: Uint8Array, tail?: Uint8Array): Uint8Array {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  view.setUint32(0, head.length - LENGTH_BYTES + (tail?.length ?? 0), true)
  head[4] = frame.type
  head[5] = flags
  view.setUint16(6, 0, true)
  writeU53(view, EPOCH_AT, frame.epoch)
  writeU53(view, SESSION_AT, frame.session)
  view.setUint32(SHIP_HEADER_BYTES, crc32c(head.subarray(LENGTH_BYTES, CRC_AT)), true)
  const crc = crc32c(head.subarray(SHIP_HEADER_BYTES))
  view.setUint32(CRC_AT, tail === undefined ? crc : crc32c(tail, crc), true)
  return head
}

function packedPart(frame: Omit<ShipFrame, 'body'>, body: Uint8Array): Uint8Array | undefined {
  const block = lz4BlockEncode(body, body.length - (body.length >>> 3))
  if (block === undefined) return undefined
  const at = SHIP_HEADER_BYTES + SHIP_CHECK_BYTES
  const whole = new Uint8Array(at + LENGTH_BYTES + block.length)
  new DataView(whole.buffer).setUint32(at, body.length, true)
  whole.set(block, at + LENGTH_BYTES)
  return sealed(frame, FLAG_LZ4, whole)
}

function joined(head: Uint8Array, tail: Uint8Array | undefined): Uint8Array {
  if (tail === undefined || tail.length === 0) return head
  const whole = new Uint8Array(head.length + tail.length)
  whole.set(head)
  whole.set(tail, head.length)
  return whole
}

/** Takes the bytes of one direction of a connection. After it threw it is of no more use: where the next frame begins is not known. */
export class ShipFrameDecoder {
  /** Frames over it are refused: small until the other side has shown that it knows the key. */
  frameBytesMax: number
  /** Where the payload of a frame that comes in several pieces is put together; undefined: in memory of its own. */
  memoryFor: ((type: number, bytes: number) => Uint8Array | undefined) | undefined
  readonly #messageBytesMax: number
  readonly #header = new Uint8Array(SHIP_HEADER_BYTES)
  #headerBytes = 0
  /** Of a frame that did not come in one piece. */
  #payload: Uint8Array | undefined
  #payloadBytes = 0
  /** Bodies of frames with `more`, and their common header. */
  #begun: { readonly type: number; readonly epoch: number; readonly session: number; readonly bodies: Uint8Array[]; bytes: number } | undefined

  constructor(o: { readonly frameBytesMax?: number; readonly messageBytesMax?: number } = {}) {
    this.frameBytesMax = o.frameBytesMax ?? SHIP_FRAME_BYTES_MAX
    this.#messageBytesMax = o.messageBytesMax ?? SHIP_MESSAGE_BYTES_MAX
  }

  /**
   * Hands out every message that the chunk completes, in order.
   *
   * @throws ShipFrameError; what came before the bad frame has been handed out
   */
  push(chunk: Uint8Array, emit: (frame: ShipFrame) => void): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#payload === undefined) {
        const header = this.#takeHeader(chunk, at)
        if (header === undefined) return
        at = header.next
        const whole = payloadBytesOf(header.bytes, this.frameBytesMax)
        if (chunk.length - at >= whole) {
          const payload = chunk.subarray(at, at + whole)
          at += whole
          // The header must not be overwritten while it is read: emit may not push.
          this.#headerBytes = 0
          this.#complete(header.bytes, payload, emit)
          continue
        }
        if (header.bytes !== this.#header) this.#header.set(header.bytes)
        this.#headerBytes = SHIP_HEADER_BYTES
        this.#payload = this.memoryFor?.(this.#header[4]!, whole) ?? new Uint8Array(whole)
        this.#payloadBytes = 0
      }
      const payload = this.#payload
      const n = Math.min(payload.length - this.#payloadBytes, chunk.length - at)
      payload.set(chunk.subarray(at, at + n), this.#payloadBytes)
      this.#payloadBytes += n
      at += n
      if (this.#payloadBytes < payload.length) return
      this.#payload = undefined
      this.#headerBytes = 0
      this.#complete(this.#header, payload, emit)
    }
  }

  /** The connection ended. @throws ShipFrameError inside a frame or message */
  end(): void {
    const inFrame = this.#headerBytes > 0
    if (!inFrame && this.#begun === undefined) return
    throw new ShipFrameError('truncated', `the connection ended inside a ${inFrame ? 'frame' : 'message of several frames'}`)
  }

  #takeHeader(chunk: Uint8Array, at: number): { readonly bytes: Uint8Array; readonly next: number } | undefined {
    if (this.#headerBytes === 0 && chunk.length - at >= SHIP_HEADER_BYTES) {
      return { bytes: chunk.subarray(at, at + SHIP_HEADER_BYTES), next: at + SHIP_HEADER_BYTES }
    }
    const n = Math.min(SHIP_HEADER_BYTES - this.#headerBytes, chunk.length - at)
    this.#header.set(chunk.subarray(at, at + n), this.#headerBytes)
    this.#headerBytes += n
    // A length that no frame has is refused before anybody waits for the rest.
    if (this.#headerBytes >= LENGTH_BYTES) payloadBytesOf(this.#header, this.frameBytesMax)
    return this.#headerBytes === SHIP_HEADER_BYTES ? { bytes: this.#header, next: at + n } : undefined
  }

  #complete(header: Uint8Array, payload: Uint8Array, emit: (frame: ShipFrame) => void): void {
    const view = new DataView(header.buffer, header.byteOffset, SHIP_HEADER_BYTES)
    if (crc32c(payload) !== view.getUint32(CRC_AT, true)) throw new ShipFrameError('checksum', `a frame of ${payload.length} bytes fails its checksum`)
    const type = header[4]!
    const flags = header[5]!
    if (!isShipType(type)) throw new ShipFrameError('unknown', `a frame of type ${type}`)
    const check = new DataView(payload.buffer, payload.byteOffset, SHIP_CHECK_BYTES).getUint32(0, true)
    if (crc32c(header.subarray(LENGTH_BYTES, CRC_AT)) !== check) throw new ShipFrameError('checksum', `a frame of type ${type} whose header fails its checksum`)
    if ((flags & ~(FLAG_LZ4 | FLAG_MORE)) !== 0 || view.getUint16(6, true) !== 0)
      throw new ShipFrameError('unknown', `a frame of type ${type} with flags ${flags}`)
    const epoch = readU53(view, EPOCH_AT)
    const session = readU53(view, SESSION_AT)
    if (!Number.isSafeInteger(epoch) || !Number.isSafeInteger(session)) throw new ShipFrameError('unknown', `a frame of type ${type} of epoch ${epoch}`)
    const body = payload.subarray(SHIP_CHECK_BYTES)
    const frame = { type, epoch, session, body: (flags & FLAG_LZ4) === 0 ? body : unpacked(type, body, this.frameBytesMax) }
    if (this.#begun !== undefined || (flags & FLAG_MORE) !== 0) this.#gather(frame, (flags & FLAG_MORE) !== 0, emit)
    else emit(frame)
  }

  #gather(frame: ShipFrame, more: boolean, emit: (frame: ShipFrame) => void): void {
    const { type, epoch, session, body } = frame
    const begun = (this.#begun ??= { type, epoch, session, bodies: [], bytes: 0 })
    if (begun.type !== type || begun.epoch !== epoch || begun.session !== session) {
      throw new ShipFrameError('unknown', `a frame of type ${type} inside a message of type ${begun.type}`)
    }
    // Only full frames go on: else one could make a message of any number of parts.
    if (more && body.length !== BODY_BYTES_MAX) throw new ShipFrameError('unknown', `a frame of type ${type} and ${body.length} bytes that is to go on`)
    begun.bytes += body.length
    if (begun.bytes > this.#messageBytesMax) throw new ShipFrameError('too-large', `a message of more than ${this.#messageBytesMax} bytes`)
    begun.bodies.push(body)
    if (more) return
    this.#begun = undefined
    const whole = new Uint8Array(begun.bytes)
    let at = 0
    for (const part of begun.bodies) {
      whole.set(part, at)
      at += part.length
    }
    emit({ type, epoch, session, body: whole })
  }
}

/** Types 1 to 22 (format/ship-messages.ts). */
const TYPES = 22
function isShipType(type: number): boolean {
  return type >= 1 && type <= TYPES
}

function payloadBytesOf(header: Uint8Array, frameBytesMax: number): number {
  const length = new DataView(header.buffer, header.byteOffset, LENGTH_BYTES).getUint32(0, true)
  if (length > frameBytesMax) throw new ShipFrameError('too-large', `a frame of ${length} bytes; the bound is ${frameBytesMax}`)
  if (length < BEHIND_LENGTH_BYTES + SHIP_CHECK_BYTES) throw new ShipFrameError('checksum', `a frame of ${length} bytes, less than its header has`)
  return length - BEHIND_LENGTH_BYTES
}

function unpacked(type: number, body: Uint8Array, bytesMax: number): Uint8Array {
  if (body.length < LENGTH_BYTES) throw new ShipFrameError('unknown', `a compressed frame of type ${type} and ${body.length} bytes`)
  const bytes = new DataView(body.buffer, body.byteOffset, LENGTH_BYTES).getUint32(0, true)
  if (bytes > bytesMax) throw new ShipFrameError('too-large', `a compressed frame of ${bytes} bytes; the bound is ${bytesMax}`)
  try {
    return lz4BlockDecode(body.subarray(LENGTH_BYTES), bytes)
  } catch (cause) {
    throw new ShipFrameError('unknown', `a compressed frame of type ${type} that does not decode`, { cause })
  }
}
