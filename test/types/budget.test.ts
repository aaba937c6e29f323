// What the types cost the compiler: 100 tables of 30 columns with 7 uses each stay below 600 000 instantiations (api.md section 10).

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const TABLES = 100
const COLUMNS = 30
const INSTANTIATIONS_MAX = 600_000
const repository = fileURLToPath(new URL('../..', import.meta.url))

const CONSTRUCTORS = [
  't.int16().nullable()',
  't.int32()',
  't.float64().nullable()',
  't.utf8().dictionary()',
  't.utf8().nullable()',
  't.timestamp()',
  't.bool().default(false)',
  't.json<{ a: number }>().nullable()',
  't.decimal128(10, 2)',
  't.date()',
]

function source(table: number): string {
  const name = `table${table}`
  const columns = Array.from({ length: COLUMNS - 1 }, (_, i) => `  c${i}: ${CONSTRUCTORS[(i + table) % CONSTRUCTORS.length]},`)
  const at = (constructor: number): string => `c${(constructor - (table % 10) + 10) % 10}`
  return [
    `const ${name} = table("${name}", {\n  id: t.int64(),\n${columns.join('\n')}\n}, { key: ["id"] })`,
    `async function use${table}(row: typeof ${name}.Insert): Promise<typeof ${name}.Row | undefined> {`,
    `  await store.append(${name}, [row])`,
    `  await store.upsert(${name}, row)`,
    `  await store.update(${name}, { id: 1n, ${at(0)}: 4 })`,
    `  await store.scan(${name}, { select: ["id", "${at(3)}"], where: and(gt("${at(0)}", 60), eq("${at(3)}", "a")), orderBy: "${at(5)} desc" }).toArray()`,
    `  await store.scan(${name}).aggregate({ n: "count", total: { sum: "${at(1)}" } }, { by: ["${at(3)}"] })`,
    `  for await (const commit of store.changes({ tables: [${name}] })) for await (const c of commit) if (c.kind === "insert") void c.after.id`,
    `  return store.get(${name}, 1n)`,
    `}\nvoid use${table}\n`,
  ].join('\n')
}

function tsc(project: string): Promise<string> {
  const script = join(repository, 'node_modules/typescript/bin/tsc')
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [script, '-p', project, '--extendedDiagnostics'], (error, stdout) =>
      error === null ? resolve(stdout) : reject(new Error(stdout)),
    )
  })
}

it('stays below the budget of instantiations for 100 tables of 30 columns with 7 uses each', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'varve-types-'))
  try {
    const from = (file: string): string => JSON.stringify(join(repository, 'bindings/table', file))
    const head = [
      `import { t } from ${from('columns.ts')}`,
      `import { table } from ${from('definition.ts')}`,
      `import { and, eq, gt } from ${from('predicate.ts')}`,
      `import type { Store } from ${from('types-store.ts')}`,
      `declare const store: Store`,
    ]
    await writeFile(join(folder, 'tables.mts'), [...head, ...Array.from({ length: TABLES }, (_, i) => source(i))].join('\n'))
    const config = {
      extends: join(repository, 'tsconfig.json'),
      compilerOptions: { isolatedDeclarations: false, declaration: false, typeRoots: [join(repository, 'node_modules/@types')] },
      include: ['tables.mts'],
    }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const report = await tsc(folder)
    const instantiations = Number(/^Instantiations:\s+(\d+)/m.exec(report)?.[1])
    expect(instantiations).toBeGreaterThan(TABLES * COLUMNS)
    expect(instantiations).toBeLessThan(INSTANTIATIONS_MAX)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
