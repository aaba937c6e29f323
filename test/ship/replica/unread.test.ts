// A peer that asks and does not read: answers wait for the room of the link, and questions for the answers. Each answer was handed to the link at once, which kept as
// many as were asked for.
import { expect, it, onTestFinished } from 'vitest'

import type { Message } from '../../../bindings/format/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import type { Link, LinkHost, Transport, WireFrame } from '../../../bindings/ship/index.ts'
import { Replica } from '../../../bindings/store/index.ts'

const turns = async (): Promise<void> => {
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
}

it('is read no further than it reads', async () => {
  let host: LinkHost | undefined
  const transport: Transport = {
    check: () => undefined,
    connect: () => Promise.reject(new Error('nobody connects')),
    listen: (its, endpoint) => {
      host = its
      return Promise.resolve({ endpoint, [Symbol.asyncDispose]: () => Promise.resolve() })
    },
  }
  const replica = await Replica.open(new MemoryRoot({}), { replicaId: 'r1', endpoint: { data: 'r1', version: 1 }, transport })
  onTestFinished(() => replica.close())
  const observe: Message = {
    type: 'hello',
    protocol: 1,
    replicaId: 'r1',
    storeId: new Uint8Array(16),
    endpointVersion: 1,
    mandate: 0,
    decision: '',
    kind: 'observe',
  }
  let asked = 0
  const questions = async function* (): AsyncGenerator<WireFrame> {
    yield { epoch: 0, session: 0, message: observe }
    for (; asked < 1000; asked++) yield { epoch: 0, session: 0, message: { type: 'digestReq', lsn: 0 } }
    await new Promise(() => {})
  }
  const waiting: (() => void)[] = []
  const answers: string[] = []
  const link = {
    peer: 'who asks',
    bufferedBytes: 0,
    frames: questions(),
    send: ({ message }: WireFrame) => {
      answers.push(message.type)
      return new Promise<void>((resolve) => waiting.push(resolve))
    },
    close: () => {
      for (const resolve of waiting.splice(0)) resolve()
      return Promise.resolve()
    },
  }
  host!.accept(link as unknown as Link)
  await turns()
  expect([answers, asked]).toEqual([['helloReply'], 0])
  for (let read = 1; read <= 5; read++) {
    waiting.shift()!()
    await turns()
    expect([answers.length, waiting.length, asked]).toEqual([1 + read, 1, read - 1])
  }
})
