// The README's code, run as it stands: its `ts` blocks, one after the other, are one program, compiled and run against the sources. `// →` is what the line prints.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { blocksOf, compilePage, expectedOf, runPage } from './page-program.ts'

const DOORS = [
  { name: 'varve', source: 'bindings/index.ts' },
  { name: 'varve/ship', source: 'bindings/shipping.ts' },
]
let folder: string
let program: string
let blocks: string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'varve-readme-'))
  const readme = await readFile('README.md', 'utf8')
  blocks = blocksOf(readme)
  program = blocks.join('\n')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('README.md', () => {
  it('shows a tour', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(5)
    expect(program).toContain("from 'varve'")
  })

  it('compiles as it stands', async () => {
    expect(await compilePage(folder, program, ...DOORS)).toBe('')
  })

  it('prints what its comments say', async () => {
    const expected = expectedOf(program)
    expect(expected.length).toBeGreaterThan(5)
    expect(await runPage(folder, program, { doors: DOORS, cwd: folder })).toEqual(expected)
  })

  it('names commands that are in package.json', async () => {
    const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as { scripts: Record<string, string> }
    const readme = await readFile('README.md', 'utf8')
    const named = [...readme.matchAll(/npm run ([a-z:]+)/g)].map((match) => match[1]!)
    expect(named.length).toBeGreaterThan(0)
    for (const name of named) expect(scripts).toHaveProperty(name)
  })
})
