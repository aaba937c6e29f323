import { describe, expect, it } from 'vitest'

import { newUlid, newUlidBytes, seededRandom, ulidBytes, ulidMs, ulidText } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'

describe('ulid', () => {
  it('ascends within a millisecond, over it, and when the wall clock steps back', async () => {
    const time = new FakeClock(1_700_000_000_000)
    const world = { clock: time.clock, random: seededRandom(1) }
    const ids: string[] = []
    for (let i = 0; i < 3000; i++) {
      ids.push(newUlid(world))
      if (i % 700 === 0) await time.advance(1)
      if (i === 1500) time.step(-60_000)
    }
    expect([...ids].sort()).toEqual(ids)
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
  })

  it('carries from the random part into the time', () => {
    const random = { bytes: (n: number) => new Uint8Array(n).fill(255), u32: () => 0 }
    const world = { clock: new FakeClock(5).clock, random }
    expect(ulidMs(newUlidBytes(world))).toBe(5)
    expect(ulidMs(newUlidBytes(world))).toBe(6)
  })

  it('has the text of the specification and the time in front', () => {
    // 1469918176385 ms is the example of github.com/ulid/spec: 01ARYZ6S41.
    const world = { clock: new FakeClock(1_469_918_176_385).clock, random: seededRandom(3) }
    const id = newUlid(world)
    expect(id.slice(0, 10)).toBe('01ARYZ6S41')
    expect(ulidMs(ulidBytes(id))).toBe(1_469_918_176_385)
  })

  it('goes from bytes to text and back', () => {
    const random = seededRandom(7)
    for (let i = 0; i < 500; i++) {
      const bytes = random.bytes(16)
      const text = ulidText(bytes)
      const decimal = Array.from(text).reduce((sum, char) => sum * 32n + BigInt('0123456789ABCDEFGHJKMNPQRSTVWXYZ'.indexOf(char)), 0n)
      expect(decimal).toBe(BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
      expect(ulidBytes(text)).toEqual(bytes)
      expect(ulidBytes(text.toLowerCase())).toEqual(bytes)
    }
    expect(ulidText(new Uint8Array(16))).toBe('0'.repeat(26))
    expect(ulidText(new Uint8Array(16).fill(255))).toBe(`7${'Z'.repeat(25)}`)
  })

  it('refuses what is no ULID', () => {
    for (const text of ['', '0', '8'.padEnd(26, '0'), 'I'.repeat(26), '0'.repeat(27), 'ü'.padEnd(26, '0')]) {
      expect(() => ulidBytes(text)).toThrow(expect.objectContaining({ code: 'options.name' }))
    }
  })
})
