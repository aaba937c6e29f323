// Memory of the pieces of files that come over TCP: used again once it was given back, and never before.
import { describe, expect, it, onTestFinished } from 'vitest'

import { FILE_PIECE_BYTES_MAX, type Message } from '../../../bindings/format/index.ts'
import { type Link, TcpTransport } from '../../../bindings/ship/index.ts'
import { LOCAL } from './sockets.ts'

type Fragment = Extract<Message, { readonly type: 'fragment' }>

const COUNT = 40

describe('memory of pieces', () => {
  it('serves the next piece once it was given back', async () => {
    const { receive, link } = await receiving(COUNT)
    const buffers = new Set<ArrayBufferLike>()
    for (let i = 0; i < COUNT; i++) {
      const { bytes } = await receive()
      expect(
        bytes.every((byte) => byte === i),
        `piece ${i}`,
      ).toBe(true)
      buffers.add(bytes.buffer)
      link.recycle!(bytes)
    }
    // As many as were read ahead of the reader, and one or two in hand.
    expect(buffers.size).toBeLessThan(COUNT - 10)
  })

  it('is left alone while it was not: what is held keeps its bytes', async () => {
    const { receive, link } = await receiving(COUNT)
    const held: Uint8Array[] = []
    for (let i = 0; i < COUNT; i++) {
      const { bytes } = await receive()
      // Every other one goes back; twice is as good as once.
      if (i % 2 === 0) held[i] = bytes
      else for (let times = 0; times < 2; times++) link.recycle!(bytes)
    }
    for (let i = 0; i < COUNT; i += 2)
      expect(
        held[i]!.every((byte) => byte === i),
        `piece ${i}`,
      ).toBe(true)
    expect(new Set(held.filter(Boolean).map(({ buffer }) => buffer)).size).toBe(COUNT / 2)
  })

  it('is not that of what came from elsewhere', async () => {
    const { receive, link } = await receiving(2)
    const own = new Uint8Array(FILE_PIECE_BYTES_MAX + 1024)
    link.recycle!(own)
    for (let i = 0; i < 2; i++) expect((await receive()).bytes.buffer).not.toBe(own.buffer)
  })
})

/** A connection over which `count` pieces come, piece i full of bytes i. */
async function receiving(count: number): Promise<{ readonly link: Link; readonly receive: () => Promise<Fragment> }> {
  const { promise, resolve } = Promise.withResolvers<Link>()
  const listening = await new TcpTransport().listen({ accept: resolve }, LOCAL)
  const sender = await new TcpTransport().connect(listening.endpoint, AbortSignal.timeout(5000))
  const link = await promise
  onTestFinished(async () => {
    await sender.close()
    await link.close()
    await listening[Symbol.asyncDispose]()
  })
  const sending = async (): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const bytes = new Uint8Array(FILE_PIECE_BYTES_MAX).fill(i)
      await sender.send({ epoch: 1, session: 1, message: { type: 'fragment', hash: new Uint8Array(32), offset: 0, total: bytes.length, dead: false, bytes } })
    }
  }
  void sending()
  const frames = link.frames[Symbol.asyncIterator]()
  return {
    link,
    receive: async () => {
      const { value } = await frames.next()
      return value!.message as Fragment
    },
  }
}
