// docs/kernels.md, run as it stands: its `ts` blocks, one after the other, are one program, compiled and run against the sources; `// →` is what the line prints.
// The page also names every call of varve/kernels and every file of the module.
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import * as door from '../../bindings/kernels/public.ts'
import { blocksOf, compilePage, expectedOf, runPage } from './page-program.ts'

const DOOR = { name: 'varve/kernels', source: 'bindings/kernels/public.ts' }
let folder: string
let page: string
let program: string

beforeAll(async () => {
  // Inside the tree, so that the program finds apache-arrow as a user's would.
  await mkdir('.tmp', { recursive: true })
  folder = await mkdtemp(resolve('.tmp/kernels-page-'))
  page = await readFile('docs/kernels.md', 'utf8')
  program = blocksOf(page).join('\n')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('docs/kernels.md', () => {
  it('compiles as it stands', async () => {
    expect(program.split("from 'varve/kernels'").length).toBeGreaterThan(3)
    expect(await compilePage(folder, program, DOOR)).toBe('')
  })

  it('prints what its comments say', async () => {
    const expected = expectedOf(program)
    expect(expected.length).toBeGreaterThan(10)
    expect(await runPage(folder, program, { doors: [DOOR] })).toEqual(expected)
  })

  it('names every call of varve/kernels in its table, and no other', () => {
    const rows = page.split('\n').filter((line) => line.startsWith('| ') && line.split('|').length > 7)
    const named = rows.flatMap((row) => [...row.split('|')[2]!.matchAll(/`(\w+)`/g)].map((match) => match[1]!))
    const calls = Object.keys(door).filter((name) => !name.endsWith('Error'))
    expect(calls.length).toBeGreaterThan(50)
    expect(named.toSorted()).toEqual(calls.toSorted())
  })

  it('names every file of the module, and files that are there', () => {
    const files = readdirSync('assembly').filter((name) => name.endsWith('.ts') && !['index.ts', 'status.ts'].includes(name))
    for (const file of files) expect(page).toContain(`\`${file}\``)
    const rows = page.split('\n').filter((line) => line.startsWith('| ') && line.split('|').length > 7)
    const faces = rows.flatMap((row) => [...row.split('|')[6]!.matchAll(/`([\w-]+\.ts)`/g)].map((match) => match[1]!))
    expect(faces.length).toBeGreaterThan(20)
    for (const face of faces) expect(existsSync(`bindings/kernels/${face}`), face).toBe(true)
  })
})
