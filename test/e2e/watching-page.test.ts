// docs/watching.md, run as it stands: its `ts` blocks with a store behind them and a stub of OpenTelemetry's Meter, compiled and run against the sources.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { blocksOf, compilePage, runPage } from './page-program.ts'

const DOOR = { name: 'varve', source: 'bindings/index.ts' }
/** The shape of Meter, Counter and Histogram in @opentelemetry/api 1.9: more than the page asks for. */
const DRIVER = `
import { Store, t, table } from 'varve'

type Attributes = Record<string, string | number | boolean | readonly string[] | undefined>
interface Instrument { name: string; unit: string | undefined; kind: 'counter' | 'histogram'; values: [number, Attributes | undefined][] }
const instruments: Instrument[] = []
const made = (kind: Instrument['kind'], name: string, o?: { description?: string; unit?: string; valueType?: number }) => {
  const instrument: Instrument = { name, unit: o?.unit, kind, values: [] }
  instruments.push(instrument)
  return instrument
}
const otel = {
  createCounter: (name: string, o?: { description?: string; unit?: string; valueType?: number }) => {
    const { values } = made('counter', name, o)
    return { add: (value: number, attributes?: Attributes, _context?: unknown): void => void values.push([value, attributes]) }
  },
  createHistogram: (name: string, o?: { description?: string; unit?: string; valueType?: number }) => {
    const { values } = made('histogram', name, o)
    return { record: (value: number, attributes?: Attributes, _context?: unknown): void => void values.push([value, attributes]) }
  },
}
const items = table('items', { id: t.int32() }, { key: ['id'] })
const store = await Store.open('memory:watched', { meter: meterOf(otel), threads: 0 })
await store.create(items)
await store.append(items, [{ id: 1 }, { id: 2 }])
await store.flush()
await store.close()
for (const { name, unit, kind, values } of instruments) console.log(JSON.stringify({ name, unit, kind, sum: values.reduce((sum, [value]) => sum + value, 0), attributes: values.at(-1)?.[1] }))
`
let folder: string
let program: string

beforeAll(async () => {
  await mkdir('.tmp', { recursive: true })
  folder = await mkdtemp(resolve('.tmp/watching-page-'))
  program = `${blocksOf(await readFile('docs/watching.md', 'utf8')).join('\n')}\n${DRIVER}`
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('docs/watching.md', () => {
  it('compiles as it stands, against the shape of OpenTelemetry', async () => {
    expect(await compilePage(folder, program, DOOR)).toBe('')
  })

  it('makes one instrument per name, with units and attributes, and hears the channel', async () => {
    const [traced, ...lines] = await runPage(folder, program, { doors: [DOOR] })
    expect(traced).toBe('2 rows of items')
    const instruments = lines.map((line) => JSON.parse(line) as { name: string; kind: string; unit?: string; sum: number; attributes: object })
    expect(new Set(instruments.map(({ name }) => name)).size).toBe(instruments.length)
    const named = (name: string): unknown => instruments.find((each) => each.name === name)
    expect(named('varve.commits')).toEqual({ name: 'varve.commits', kind: 'counter', sum: 1, attributes: { root: 'memory:watched', table: 'items' } })
    expect(named('varve.commit.duration')).toMatchObject({ kind: 'histogram', unit: 'ms', attributes: { root: 'memory:watched', table: 'items' } })
    expect(named('varve.log.bytes')).toMatchObject({ kind: 'counter', unit: 'By', attributes: { root: 'memory:watched' } })
    expect(named('varve.flush.rows')).toMatchObject({ kind: 'counter', sum: 2 })
  })

  it('names every meter that a store feeds, and every channel and event there is', async () => {
    const page = await readFile('docs/watching.md', 'utf8')
    const read = (path: string): Promise<string> => readFile(path, 'utf8')
    const sources = (await Promise.all(['metering', 'watched-root', 'write-store', 'upkeep'].map((name) => read(`bindings/store/${name}.ts`)))).join('\n')
    const fed = new Set([...sources.matchAll(/'(varve\.[a-z.]+)'/g)].map(([, name]) => name!))
    expect(fed.size).toBe(12)
    for (const name of fed) expect(page, name).toContain(`\`${name}\``)
    for (const [, name] of (await read('bindings/runtime/tracing.ts')).matchAll(/'(varve:[a-z]+)'/g)) expect(page, name).toContain(`\`${name}\``)
    const [, events] = /const NAMES[^{]*\{([^}]*)\}/.exec(await read('bindings/store/events.ts'))!
    for (const [, name] of events!.matchAll(/(\w+): true/g)) expect(page, name).toContain(`\`${name}\``)
  })
})
