// test/unit/kernels/door.test.ts: what varve/kernels says about itself: a doc comment with an example at every call, and no import that the kernels do not have.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

import { importsOf } from '../../../.ci/sources.mjs'
import * as door from '../../../bindings/kernels/public.ts'

const FOLDER = 'bindings/kernels'
const text = readFileSync(`${FOLDER}/public.ts`, 'utf8')

/** Names of values by the file that public.ts has them from. */
const sources = [...text.matchAll(/^export \{([^}]*)\} from '\.\/([\w-]+\.ts)'$/gms)].flatMap(([, names, file]) =>
  names!
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => ({ name, file: file! })),
)

describe('varve/kernels', () => {
  it('has a comment with an example at every call', () => {
    const calls = Object.entries(door).filter(([name, value]) => typeof value === 'function' && !name.endsWith('Error'))
    expect(calls.length).toBeGreaterThan(50)
    const bare = calls.filter(([name]) => {
      const { file } = sources.find((source) => source.name === name)!
      const declared = new RegExp(String.raw`/\*\*((?:(?!\*/)[\s\S])*)\*/\s*export (?:async )?(?:function|class) ${name}\b`).exec(
        readFileSync(`${FOLDER}/${file}`, 'utf8'),
      )
      return declared === null || !declared[1]!.includes('@example')
    })
    expect(bare.map(([name]) => name)).toEqual([])
  })

  it('imports the kernels, errors and nothing else', () => {
    const seen = new Set<string>()
    const walk = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      for (const { specifier, typeOnly, lazy } of importsOf(readFileSync(file, 'utf8'))) {
        // What the host has of its own is asked for when it is needed.
        if (typeOnly || (lazy && specifier.startsWith('node:'))) continue
        expect(specifier, file).toMatch(/^\./)
        walk(join(dirname(file), specifier))
      }
    }
    walk(`${FOLDER}/public.ts`)
    expect(
      [...seen].filter(
        (file) => !/^bindings\/(?:kernels\/|errors\.ts|error-base\.ts|errors-evolution\.ts|errors-kernel\.ts|error-codes\.ts|assert\.ts)/.test(file),
      ),
    ).toEqual([])
    expect(seen.size).toBeGreaterThan(30)
  })
})
