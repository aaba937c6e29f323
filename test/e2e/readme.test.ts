// The README's code, run as it stands: its `ts` blocks, one after the other, are one program, compiled and run against the sources. `// →` is what the line prints.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const execute = promisify(execFile)
let folder: string
let program: string
let blocks: string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'varve-readme-'))
  const readme = await readFile('README.md', 'utf8')
  blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!)
  program = blocks.join('\n')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('README.md', () => {
  it('shows a tour', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(5)
    expect(program).toContain("from 'varve'")
  })

  it('compiles as it stands', async () => {
    const sources = resolve('bindings/index.ts')
    await writeFile(join(folder, 'tour.mts'), program.replace("'varve'", JSON.stringify(sources)))
    const config = {
      extends: resolve('tsconfig.json'),
      compilerOptions: { isolatedDeclarations: false, declaration: false, noUnusedLocals: false, typeRoots: [resolve('node_modules/@types')] },
      include: ['tour.mts'],
    }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const { stdout } = await execute(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder]).catch((error: { stdout: string }) => error)
    expect(stdout).toBe('')
  })

  it('prints what its comments say', async () => {
    const expected = [...program.matchAll(/\/\/ → (.*)$/gm)].map((match) => match[1]!.trim())
    expect(expected.length).toBeGreaterThan(5)
    await writeFile(join(folder, 'run.mts'), program.replace("'varve'", JSON.stringify(pathToFileURL(resolve('bindings/index.ts')).href)))
    const { stdout } = await execute(process.execPath, ['--no-warnings', 'run.mts'], { cwd: folder, env: { ...process.env, NO_COLOR: '1' } })
    expect(stdout.trim().split('\n')).toEqual(expected)
  })

  it('names commands that are in package.json', async () => {
    const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as { scripts: Record<string, string> }
    const readme = await readFile('README.md', 'utf8')
    const named = [...readme.matchAll(/npm run ([a-z:]+)/g)].map((match) => match[1]!)
    expect(named.length).toBeGreaterThan(0)
    for (const name of named) expect(scripts).toHaveProperty(name)
  })
})
