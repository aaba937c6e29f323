// bench/children.ts: starts bench/child.ts and reads its answer.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url))

/** `prefix`: a command that runs node, such as a tracer. `killed`: the child must have ended by SIGKILL. */
export function inChild<T>(args: readonly string[], o: { prefix?: readonly string[]; killed?: boolean } = {}): Promise<T> {
  const [command, ...more] = [...(o.prefix ?? []), process.execPath, '--no-warnings', CHILD, ...args]
  return new Promise((resolve, reject) => {
    const child = spawn(command!, more, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const ok = o.killed === true ? signal === 'SIGKILL' : code === 0
      if (!ok) reject(new Error(`${args.join(' ')} ended with ${signal ?? code}`))
      else resolve((text === '' ? undefined : JSON.parse(text)) as T)
    })
  })
}
