// The `ts` blocks of a page of documentation, one after the other, as one program: compiled and run against the sources. `// →` is what a line prints.
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)

export function blocksOf(page: string): string[] {
  return [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!)
}

/** What the comments of the program say that it prints, line by line. */
export function expectedOf(program: string): string[] {
  return [...program.matchAll(/\/\/ → (.*)$/gm)].map((match) => match[1]!.trim())
}

/** A name that programs import, and the source it stands for. */
export interface Door {
  readonly name: string
  readonly source: string
}

/** What the compiler says of the program. */
export async function compilePage(folder: string, program: string, ...doors: readonly Door[]): Promise<string> {
  await writeFile(
    join(folder, 'tour.mts'),
    through(program, doors, (source) => source),
  )
  const config = {
    extends: resolve('tsconfig.json'),
    compilerOptions: { isolatedDeclarations: false, declaration: false, noUnusedLocals: false, typeRoots: [resolve('node_modules/@types')] },
    include: ['tour.mts'],
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const { stdout } = await execute(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder]).catch((error: { stdout: string }) => error)
  return stdout
}

/** The lines that the program prints. */
export async function runPage(folder: string, program: string, o: { readonly doors: readonly Door[]; readonly cwd?: string }): Promise<string[]> {
  await writeFile(
    join(folder, 'run.mts'),
    through(program, o.doors, (source) => pathToFileURL(source).href),
  )
  const options = { cwd: o.cwd ?? process.cwd(), env: { ...process.env, NO_COLOR: '1' } }
  const { stdout } = await execute(process.execPath, ['--no-warnings', join(folder, 'run.mts')], options)
  return stdout.trim().split('\n')
}

function through(program: string, doors: readonly Door[], written: (source: string) => string): string {
  return doors.reduce((text, { name, source }) => text.replaceAll(`'${name}'`, JSON.stringify(written(resolve(source)))), program)
}
