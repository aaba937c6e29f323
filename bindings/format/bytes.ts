// format/bytes.ts: a growing byte writer and a bounds-checked reader; everything little-endian, varints are LEB128 (unsigned, at most 2^53 - 1).
//
// Invariant: a reader never reads outside its range: it throws DecodeError, which the caller turns into the CorruptionError of its artifact.

/** Texts up to here, whose length is one byte, are written without the encoder: a call of it costs more than they do. */
const SHORT_TEXT = 64

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** Bytes that do not parse; internal: callers add file and offset. */
export class DecodeError extends Error {
  override readonly name: string = 'DecodeError'
  readonly offset: number
  constructor(message: string, offset: number) {
    super(`${message} at byte ${offset}`)
    this.offset = offset
  }
}

export class ByteWriter {
  bytes: Uint8Array<ArrayBuffer>
  view: DataView
  at = 0
  constructor(capacity: number = 256) {
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
  }
  /** Make room for `n` more bytes; views taken before are stale afterwards. */
  reserve(n: number): void {
    if (this.at + n <= this.bytes.length) return
    let capacity = this.bytes.length * 2
    while (capacity < this.at + n) capacity *= 2
    const grown = new Uint8Array(capacity)
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
    this.view = new DataView(grown.buffer)
  }
  u8(value: number): void {
    this.reserve(1)
    this.bytes[this.at++] = value
  }
  u16(value: number): void {
    this.reserve(2)
    this.view.setUint16(this.at, value, true)
    this.at += 2
  }
  u32(value: number): void {
    this.reserve(4)
    this.view.setUint32(this.at, value, true)
    this.at += 4
  }
  f64(value: number): void {
    this.reserve(8)
    this.view.setFloat64(this.at, value, true)
    this.at += 8
  }
  /** An unsigned integer below 2^53 in 8 bytes. */
  u53(value: number): void {
    this.reserve(8)
    this.view.setUint32(this.at, value >>> 0, true)
    this.view.setUint32(this.at + 4, Math.floor(value / 0x1_0000_0000), true)
    this.at += 8
  }
  u64(value: bigint): void {
    this.reserve(8)
    this.view.setBigUint64(this.at, value, true)
    this.at += 8
  }
  i64(value: bigint): void {
    this.reserve(8)
    this.view.setBigInt64(this.at, value, true)
    this.at += 8
  }
  varint(value: number): void {
    this.reserve(8)
    let rest = value
    for (; rest >= 0x80 && rest <= 0x7fff_ffff; rest >>>= 7) this.bytes[this.at++] = (rest & 0x7f) | 0x80
    while (rest >= 0x80) {
      this.bytes[this.at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.bytes[this.at++] = rest
  }
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
  }
  /** varint length + bytes. */
  blob(bytes: Uint8Array): void {
    this.varint(bytes.length)
    this.raw(bytes)
  }
  /** varint byte length + UTF-8. */
  text(value: string): void {
    if (value.length > SHORT_TEXT || !this.ascii(value)) this.blob(encoder.encode(value))
  }
  /** False, and nothing written: there is another character. */
  private ascii(value: string): boolean {
    this.reserve(1 + value.length)
    const start = this.at + 1
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i)
      if (code >= 0x80) return false
      this.bytes[start + i] = code
    }
    this.bytes[this.at] = value.length
    this.at = start + value.length
    return true
  }
  /** Ascending integers as count + differences. */
  ascending(values: ArrayLike<number>): void {
    this.varint(values.length)
    let previous = 0
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!
      this.varint(value - previous)
      previous = value
    }
  }
  /** A copy of what was written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.at)
  }
  reset(): void {
    this.at = 0
  }
}

export class ByteReader {
  readonly bytes: Uint8Array
  /** Made when it is asked for: it costs more than all else of a reader. */
  private made: DataView | undefined
  at: number
  readonly end: number
  constructor(bytes: Uint8Array, start: number = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.at = start
    this.end = end
  }
  get view(): DataView {
    return (this.made ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength))
  }
  /** Bytes left. */
  get left(): number {
    return this.end - this.at
  }
  private need(n: number): number {
    if (n > this.end - this.at) throw new DecodeError(`${n} bytes expected, ${this.end - this.at} left`, this.at)
    const at = this.at
    this.at += n
    return at
  }
  private word(at: number): number {
    const { bytes } = this
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  }
  u8(): number {
    return this.bytes[this.need(1)]!
  }
  u16(): number {
    const at = this.need(2)
    return this.bytes[at]! | (this.bytes[at + 1]! << 8)
  }
  u32(): number {
    return this.word(this.need(4))
  }
  f64(): number {
    return this.view.getFloat64(this.need(8), true)
  }
  u53(): number {
    const at = this.need(8)
    const high = this.word(at + 4)
    if (high >= 0x20_0000) throw new DecodeError('an integer past 2^53', at)
    return this.word(at) + high * 0x1_0000_0000
  }
  u64(): bigint {
    return this.view.getBigUint64(this.need(8), true)
  }
  i64(): bigint {
    return this.view.getBigInt64(this.need(8), true)
  }
  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = this.bytes[this.need(1)]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError('a varint past 2^53', this.at)
        return value
      }
      scale *= 0x80
    }
    throw new DecodeError('a varint of more than 8 bytes', this.at)
  }
  /** A view, not a copy. */
  raw(n: number): Uint8Array {
    const at = this.need(n)
    return this.bytes.subarray(at, at + n)
  }
  blob(): Uint8Array {
    return this.raw(this.varint())
  }
  text(): string {
    const bytes = this.blob()
    try {
      return decoder.decode(bytes)
    } catch {
      throw new DecodeError('text that is not UTF-8', this.at)
    }
  }
  ascending(): Uint32Array | Float64Array {
    const count = this.varint()
    if (count > this.left) throw new DecodeError(`a list of ${count} numbers in ${this.left} bytes`, this.at)
    let values: Uint32Array | Float64Array = new Uint32Array(count)
    let previous = 0
    for (let i = 0; i < count; i++) {
      previous += this.varint()
      if (previous > 0xffff_ffff && values instanceof Uint32Array) values = new Float64Array(values)
      values[i] = previous
    }
    return values
  }
}
