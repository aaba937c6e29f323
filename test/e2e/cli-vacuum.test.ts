// `varve vacuum`: what it asks for, what it prints, what is gone afterwards.
import { join } from 'node:path'
import { expect, it } from 'vitest'

import { columns, Store, t, table } from '../../bindings/index.ts'
import { cli, ok, tempFolder } from './cli-run.ts'

const items = table('items', { id: t.int32(), n: t.int64() })
const rows = (n: number) => columns({ id: Int32Array.from({ length: 40_000 }, (_, i) => i), n: BigInt64Array.from({ length: 40_000 }, () => BigInt(n)) })

it('varve vacuum wants to know what to keep, previews, deletes, and names what holds files back', async () => {
  const path = join(await tempFolder(), 'store')
  const store = await Store.open(path)
  await store.create(items)
  await store.replace(items, rows(1))
  await store.tag('v1')
  await store.replace(items, rows(2))
  await store.replace(items, rows(3))
  await store.close()
  const silent = await cli(['vacuum', path])
  expect(silent.code).toBe(2)
  expect(silent.stderr).toContain('--keep-days')
  const preview = JSON.parse((await ok(['vacuum', path, '--keep-versions', '1', '--dry-run', '--json'])).stdout) as {
    deleted: number
    heldBack: { by: string }[]
    lsn?: string
  }
  expect(preview).toMatchObject({ deleted: 1, heldBack: [{ by: 'tag v1' }] })
  expect(preview.lsn).toBeUndefined()
  const { stdout: text } = await ok(['vacuum', path, '--keep-versions', '1'])
  expect(text).toMatch(/deleted\s+1 file/)
  expect(text).toMatch(/tag v1\s+\d/)
  expect(JSON.parse((await ok(['vacuum', path, '--keep-versions', '1', '--json'])).stdout)).toMatchObject({ deleted: 0 })
  expect((await cli(['verify', path])).code).toBe(0)
})
