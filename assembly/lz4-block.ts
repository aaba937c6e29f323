// lz4-block.ts: LZ4 block format (lz4_Block_format.md): decode with history and every bound checked, greedy encode with skip acceleration.
//
// Invariant: the decoder reads only src .. src+n (plus 15 bytes of padding), matches only from historyStart on, and writes only dst .. dst+cap; the bytes
// between the returned length and cap are unspecified. The encoder writes only dst .. dst+cap. dst must not overlap src.
import { SCRATCH } from './memory'
import { BAD_DATA, BAD_ROOM } from './status'

const MATCH_MIN: usize = 4
/** A match may not start later than 12 bytes before the end, nor cover the last 5. */
const MATCH_LIMIT: usize = 12
const LITERALS_LAST: usize = 5
const DISTANCE_MAX: usize = 65535
const HASH_BITS_MAX: u32 = 13
const SKIP_SHIFT: u32 = 6

/** Row d: byte i mod d for i in 0..15, so that one swizzle repeats a period of d bytes. */
const PERIOD: usize = memory.data(256, 16)
/** Largest multiple of d that is <= 16. */
const STEP: usize = memory.data(16, 16)
let built: bool = false

export function lz4_init(): void {
  if (built) return
  for (let d: usize = 1; d < 16; d++) {
    for (let i: usize = 0; i < 16; i++) store<u8>(PERIOD + (d << 4) + i, <u8>(i % d))
    store<u8>(STEP + d, <u8>(16 - (16 % d)))
  }
  built = true
}

/**
 * Decodes one block of n bytes to at most cap bytes at dst. Matches may reach back to historyStart (<= dst).
 * Returns the decoded length, BAD_DATA, or BAD_ROOM when the block holds more than cap.
 */
export function lz4_block_decode(src: usize, n: usize, dst: usize, cap: usize, historyStart: usize): i32 {
  const inEnd = src + n
  const outEnd = dst + cap
  let ip = src
  let op = dst
  while (ip < inEnd) {
    const token: u32 = load<u8>(ip++)
    let literals: usize = token >>> 4
    // Literals: the common case copies 16 bytes at once where both sides have room.
    if (literals < 15 && inEnd - ip >= 18 && outEnd - op >= 16) {
      v128.store(op, v128.load(ip))
      ip += literals
      op += literals
    } else {
      if (literals == 15) {
        let byte: u32
        do {
          if (ip >= inEnd) return BAD_DATA
          byte = load<u8>(ip++)
          literals += byte
          if (literals > 0x7fffffff) return BAD_DATA
        } while (byte == 255)
      }
      if (literals > inEnd - ip) return BAD_DATA
      if (literals > outEnd - op) return BAD_ROOM
      copyForward(op, ip, literals, outEnd)
      ip += literals
      op += literals
      if (ip == inEnd) return <i32>(op - dst)
      if (inEnd - ip < 2) return BAD_DATA
    }
    const distance: usize = load<u16>(ip)
    ip += 2
    if (distance == 0 || distance > op - historyStart) return BAD_DATA
    let length: usize = (<usize>(token & 15)) + MATCH_MIN
    let from = op - distance
    if (length < 19) {
      if (distance >= 16 && outEnd - op >= 32) {
        v128.store(op, v128.load(from))
        store<u16>(op, load<u16>(from, 16), 16)
        op += length
        continue
      }
    } else {
      let byte: u32
      do {
        if (ip >= inEnd) return BAD_DATA
        byte = load<u8>(ip++)
        length += byte
        if (length > 0x7fffffff) return BAD_DATA
      } while (byte == 255)
    }
    if (length > outEnd - op) return BAD_ROOM
    const stop = op + length
    if (length >= 256 && distance >= 256) {
      // Long: whole periods by bulk copy, each from bytes that are already there.
      while (op < stop) {
        const part = stop - op < distance ? stop - op : distance
        memory.copy(op, from, part)
        op += part
        from += part
      }
    } else if (outEnd - stop < 16) {
      // Near the bound: byte by byte, which also repeats a period correctly.
      while (op < stop) store<u8>(op++, load<u8>(from++))
    } else if (distance >= 16) {
      do {
        v128.store(op, v128.load(from))
        op += 16
        from += 16
      } while (op < stop)
      op = stop
    } else {
      const pattern = v128.swizzle(v128.load(from), v128.load(PERIOD + (distance << 4)))
      const step: usize = load<u8>(STEP + distance)
      do {
        v128.store(op, pattern)
        op += step
      } while (op < stop)
      op = stop
    }
  }
  // A block ends with literals; running out anywhere else is damage.
  return BAD_DATA
}

/**
 * Encodes n bytes (<= 2 GiB - 1) as one block of at most cap bytes. Returns its length, or BAD_ROOM: store the bytes raw.
 */
export function lz4_block_encode(src: usize, n: usize, dst: usize, cap: usize): i32 {
  const inEnd = src + n
  const outEnd = dst + cap
  let op = dst
  let anchor = src
  if (n > MATCH_LIMIT) {
    const bits = hashBits(n)
    const shift: u64 = 64 - bits
    memory.fill(SCRATCH, 0, (<usize>4) << bits)
    const matchEnd = inEnd - LITERALS_LAST
    const startEnd = inEnd - MATCH_LIMIT
    // Table entries are offsets from `base`, which lies one before src: 0 = empty.
    const base = src - 1
    let ip = src
    store<u32>(slot(load<u64>(ip), shift), <u32>(ip - base))
    ip++
    let next = hash(load<u64>(ip), shift)
    while (true) {
      // Find a match, stepping faster the longer none is found.
      let match: usize = 0
      let ahead = ip
      let found = false
      let tries: u32 = 1 << SKIP_SHIFT
      while (true) {
        ip = ahead
        ahead += tries++ >>> SKIP_SHIFT
        // `ahead` is read below: 8 bytes from it must still be input.
        if (ahead > startEnd + 1) break
        const at = SCRATCH + (<usize>(next << 2))
        match = base + load<u32>(at)
        next = hash(load<u64>(ahead), shift)
        store<u32>(at, <u32>(ip - base))
        if (match > base && ip - match <= DISTANCE_MAX && load<u32>(match) == load<u32>(ip)) {
          found = true
          break
        }
      }
      if (!found) break
      while (ip > anchor && match > src && load<u8>(ip - 1) == load<u8>(match - 1)) {
        ip--
        match--
      }
      // Literals, then as many matches as follow each other directly.
      while (true) {
        const literals = ip - anchor
        const length = matchLength(ip + MATCH_MIN, match + MATCH_MIN, matchEnd)
        // token + literal length bytes + literals + distance + match length bytes
        if (outEnd - op < 1 + (literals / 255 + 1) + literals + 2 + (length / 255 + 1)) return BAD_ROOM
        const token = op++
        if (literals >= 15) op = writeLength(op, literals - 15)
        copyForward(op, anchor, literals, outEnd)
        op += literals
        store<u16>(op, <u16>(ip - match))
        op += 2
        if (length >= 15) op = writeLength(op, length - 15)
        store<u8>(token, <u8>(((literals < 15 ? literals : 15) << 4) | (length < 15 ? length : 15)))
        ip += length + MATCH_MIN
        anchor = ip
        if (ip > startEnd) break
        store<u32>(slot(load<u64>(ip - 2), shift), <u32>(ip - 2 - base))
        const at = slot(load<u64>(ip), shift)
        match = base + load<u32>(at)
        store<u32>(at, <u32>(ip - base))
        if (match == base || ip - match > DISTANCE_MAX || load<u32>(match) != load<u32>(ip)) break
      }
      if (ip > startEnd) break
      ip++
      next = hash(load<u64>(ip), shift)
    }
  }
  const literals = inEnd - anchor
  if (outEnd - op < 1 + (literals >= 15 ? (literals - 15) / 255 + 1 : 0) + literals) return BAD_ROOM
  store<u8>(op++, <u8>((literals < 15 ? literals : 15) << 4))
  if (literals >= 15) op = writeLength(op, literals - 15)
  copyForward(op, anchor, literals, outEnd)
  return <i32>(op + literals - dst)
}

/** A small input needs a small table: clearing it is most of the cost. */
function hashBits(n: usize): u32 {
  if (n >= 16384) return HASH_BITS_MAX
  return n >= 2048 ? 11 : 9
}

// @ts-ignore: decorator
@inline
function hash(eight: u64, shift: u64): u64 {
  // Five bytes decide, as in the reference encoder on 64-bit hosts.
  return ((eight << 24) * 889523592379) >>> shift
}

// @ts-ignore: decorator
@inline
function slot(eight: u64, shift: u64): usize {
  return SCRATCH + (<usize>(hash(eight, shift) << 2))
}

function matchLength(a: usize, b: usize, end: usize): usize {
  const start = a
  while (end - a >= 8) {
    const diff = load<u64>(a) ^ load<u64>(b)
    if (diff) return a - start + (<usize>(ctz<u64>(diff) >>> 3))
    a += 8
    b += 8
  }
  while (a < end && load<u8>(a) == load<u8>(b)) {
    a++
    b++
  }
  return a - start
}

function writeLength(op: usize, length: usize): usize {
  while (length >= 255) {
    store<u8>(op++, 255)
    length -= 255
  }
  store<u8>(op++, <u8>length)
  return op
}

/** Copies n bytes between regions that do not overlap, 16 at a time where `outEnd` leaves room. */
// @ts-ignore: decorator
@inline
function copyForward(to: usize, from: usize, n: usize, outEnd: usize): void {
  if (n < 256 && outEnd - to >= n + 16) {
    const end = to + n
    while (to < end) {
      v128.store(to, v128.load(from))
      to += 16
      from += 16
    }
  } else {
    memory.copy(to, from, n)
  }
}
