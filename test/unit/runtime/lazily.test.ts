import { describe, expect, it } from 'vitest'

import { lazily } from '../../../bindings/runtime/index.ts'

describe('a module that is loaded by its first call', () => {
  it('is loaded once', async () => {
    let loads = 0
    const module = lazily(() => Promise.resolve({ load: ++loads }))
    expect(loads).toBe(0)
    expect([(await module()).load, (await module()).load]).toEqual([1, 1])
  })

  it('is tried again where it could not be loaded', async () => {
    let loads = 0
    const module = lazily(() => (++loads === 1 ? Promise.reject(new Error('no such file')) : Promise.resolve(loads)))
    await expect(module()).rejects.toThrow('no such file')
    expect(await module()).toBe(2)
  })
})
