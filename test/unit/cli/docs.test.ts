import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { EXIT, EXIT_CODES } from '../../../bindings/cli/failure.ts'
import { FORMATS_OUT } from '../../../bindings/cli/formats/sink.ts'
import { FORMATS_IN } from '../../../bindings/cli/formats/source.ts'

const read = async (name: string): Promise<string> => await readFile(new URL(`../../../${name}`, import.meta.url), 'utf8')

it('the page names every exit code, command and format', async () => {
  const page = await read('docs/cli.md')
  expect(EXIT_CODES.map(([code]) => code)).toEqual(Object.values(EXIT))
  for (const code of Object.values(EXIT)) expect(page).toMatch(new RegExp(`^\\| ${code} \\|`, 'm'))
  const commands = [...(await read('bindings/cli/main.ts')).matchAll(/usage: '([a-z]+)/g)].map(([, name]) => name!)
  expect(commands.length).toBeGreaterThanOrEqual(13)
  for (const command of commands) expect(page).toMatch(new RegExp(`\`(?:varve )?${command}\\b`))
  for (const format of [...FORMATS_IN, ...FORMATS_OUT]) expect(page).toContain(`\`${format}\``)
})
