// What a transport leaves behind: a process that is done with it ends by itself. One that does not is killed, and the test fails.
import { describe, expect, it } from 'vitest'
import { Node } from './cluster.ts'

const CASES: readonly (readonly [string, string, string])[] = [
  ['N4 behind a peer that is silent', 'silent-peer', 'TransportError'],
  ['N4 behind a peer that takes nothing more', 'stalled-send', 'TransportError'],
  ['N4 when shipping to a peer that never says hello was closed', 'ship-to-silence', 'closed'],
  ['N3 behind a connect that was aborted', 'abort-connect', 'TransportError'],
  ['N3 behind a receive that was aborted', 'abort-receive', 'TransportError'],
  ['N3 behind a send that was aborted', 'abort-send', 'TransportError'],
  ['N3 where nobody listens', 'nobody-there', 'TransportError'],
  ['N2 behind bytes that are no frame', 'bad-bytes', 'FrameTooLargeError'],
  ['X9 when a store and its replica are closed', 'ship-and-follow', 'closed'],
]

describe('a process ends by itself', () => {
  it.each(CASES)('%s', async (_, name, outcome) => {
    const node = new Node('exits-child.ts', [name])
    try {
      expect(await node.until('done')).toBe(outcome)
      expect(await node.exited()).toEqual({ code: 0, errors: '' })
    } finally {
      await node.kill()
    }
  })
})
