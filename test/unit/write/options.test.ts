// What callers without types hand to staged writes is refused by name; progress of the calls of a write.
import { describe, expect, it } from 'vitest'

import { columns, type Progress } from '../../../bindings/index.ts'
import { note, notes, Place } from './helpers.ts'

describe('what is no option is refused', () => {
  it.each<readonly [string, unknown, string]>([
    ['null', null, 'stage'],
    ['a number', 5, 'stage'],
    ['a signal that is none', { signal: {} }, 'signal'],
    ['a message that is no text', { message: 5 }, 'message'],
    ['an author that is no text', { author: [] }, 'author'],
    ['a key that is no text', { idempotencyKey: 1n }, 'idempotencyKey'],
    ['a listener that is none', { onProgress: true }, 'onProgress'],
    ['an unknown one', { massage: '' }, 'massage'],
  ])('by stage(): %s', async (_name, given, key) => {
    const { store } = await Place.open()
    await expect(store.stage(given as never)).rejects.toMatchObject({ code: 'options.invalid', key })
    if (key !== 'stage' && key !== 'massage') await expect(store.append(notes, note(1), given as never)).rejects.toMatchObject({ code: 'options.invalid', key })
    await store.append(notes, note(1))
  })

  it('a table or an id that is none', async () => {
    const { store } = await Place.open()
    const write = await store.stage()
    for (const table of [undefined, null, 5, {}]) {
      await expect(write.append(table as never, [] as never)).rejects.toMatchObject({ code: 'table.not-found' })
      await expect(write.delete(table as never, 1 as never)).rejects.toMatchObject({ code: 'table.not-found' })
    }
    for (const id of [undefined, null, 5, '', 'x']) {
      await expect(store.outcome(id as never)).rejects.toMatchObject({ kind: 'invalid' })
      await expect(store.resume(id as never)).rejects.toMatchObject({ kind: 'invalid' })
    }
    await write.append(notes, note(1))
    expect(await write.publish()).toMatchObject({ rows: 1 })
  })
})

it('onProgress of stage() is told of the calls of the write, unless a call brings its own', async () => {
  const { store } = await Place.open()
  const [all, own]: Progress[][] = [[], []]
  const write = await store.stage({ onProgress: (p) => all!.push(p) })
  await write.append(notes, columns({ at: Int32Array.of(1, 2, 3), text: ['a', 'b', 'c'] }))
  expect(all!.map(({ phase, done, table }) => [phase, done, table])).toEqual([
    ['append', 0, 'notes'],
    ['append', 3, 'notes'],
  ])
  await write.append(notes, note(4), { onProgress: (p) => own!.push(p) })
  expect([all!.length, own!.at(-1)]).toMatchObject([2, { done: 1 }])
  await write.publish()
})
