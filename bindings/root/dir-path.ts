// root/dir-path.ts: paths and file URLs of local roots: absolute, `/`-separated, no slash at the end.
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export function toBasePath(path: string | URL): string {
  const local = path instanceof URL || path.startsWith('file:') ? fileURLToPath(path) : resolve(path)
  const slashed = process.platform === 'win32' ? local.replaceAll('\\', '/') : local
  return slashed.length > 1 && slashed.endsWith('/') ? slashed.slice(0, -1) : slashed
}

export function toFileUrl(base: string): string {
  return pathToFileURL(base).href
}
