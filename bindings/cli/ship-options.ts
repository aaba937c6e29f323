// cli/ship-options.ts: replicas, keys and certificates as the commands of shipping take them.
import { readFile } from 'node:fs/promises'
import type { AckMode, ReplicaTarget } from '../shipping.ts'
import { textOption } from './command.ts'
import { UsageError } from './failure.ts'

type Options = Readonly<Record<string, unknown>>

const MODES: readonly string[] = ['async', 'quorum', 'all']

/** `--replica r1=127.0.0.1:7701` and `--learner ...`, each as often as there are. @throws UsageError */
export function targetsOf(options: Options): ReplicaTarget[] {
  return [...roleOf(options, 'replica', 'voter'), ...roleOf(options, 'learner', 'learner')]
}

function roleOf(options: Options, name: string, role: 'voter' | 'learner'): ReplicaTarget[] {
  const given = (options[name] ?? []) as readonly string[]
  return given.map((text) => {
    const [id, endpoint] = splitAt(text, text.indexOf('='))
    if (id === '' || !/:\d+$/.test(endpoint))
      throw new UsageError(`--${name}: ${JSON.stringify(text)} is not id=host:port`, `Write it as --${name} r1=127.0.0.1:7701.`)
    return { id, endpoint, role }
  })
}

function splitAt(text: string, at: number): [string, string] {
  return at < 0 ? ['', text] : [text.slice(0, at), text.slice(at + 1)]
}

export function ackOf(options: Options): AckMode | undefined {
  const ack = textOption(options, 'ack')
  if (ack !== undefined && !MODES.includes(ack)) throw new UsageError(`no mode ${JSON.stringify(ack)}`, `Modes: ${MODES.join(', ')}.`)
  return ack as AckMode | undefined
}

/** 32 bytes, or 64 hex digits, in a file: what is on a command line is seen by everybody on the machine. */
export async function keyOf(options: Options): Promise<Uint8Array | string | undefined> {
  const file = textOption(options, 'keyFile')
  if (file === undefined) return undefined
  const bytes = await readFile(file)
  if (bytes.length === 32) return new Uint8Array(bytes)
  const text = bytes.toString('latin1').trim()
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase()
  throw new UsageError(`${file} holds no key`, 'A key is 32 bytes, or 64 hex digits: openssl rand -hex 32 > key.')
}

export async function tlsOf(options: Options): Promise<object | undefined> {
  const found: Record<string, Uint8Array> = {}
  for (const [option, name] of [
    ['tlsCa', 'ca'],
    ['tlsCert', 'cert'],
    ['tlsKey', 'key'],
  ] as const) {
    const file = textOption(options, option)
    if (file !== undefined) found[name] = await readFile(file)
  }
  return Object.keys(found).length === 0 ? undefined : found
}
