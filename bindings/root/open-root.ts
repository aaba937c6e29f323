// root/open-root.ts: a Root from what a user writes: a path, a URL, or a Root of his own.
import { UnsupportedRootError } from '../errors.ts'
import type { World } from '../runtime/index.ts'

import { DirRoot, type DirRootOptions } from './dir-root.ts'
import type { Root } from './root.ts'

/**
 * `./data`, `/data`, `file:///data`: a directory. `memory:`: private memory; `memory:name`: shared in this process under that name.
 *
 * @throws UnsupportedRootError for a scheme without a root (`s3:` is not there yet)
 * @example const root = await openRoot('./data', defaultWorld())
 */
export async function openRoot(place: string | URL | Root, world: World, o?: DirRootOptions): Promise<Root> {
  if (typeof place === 'object' && !(place instanceof URL)) return place
  const text = String(place)
  if (text.startsWith('memory:')) {
    // Most stores are in directories, and do not load it.
    const { MemoryRoot } = await import('./memory-root.ts')
    return text.length > 7 ? new MemoryRoot({ name: text.slice(7) }) : new MemoryRoot()
  }
  // One letter is a drive, not a scheme.
  const scheme = /^([a-z][a-z0-9+.-]+):(\/\/|$)/i.exec(text)?.[1]?.toLowerCase()
  if (scheme !== undefined && scheme !== 'file') {
    const why = scheme === 's3' ? 'object stores are not supported yet' : 'no root of that scheme'
    throw new UnsupportedRootError(`${text}: ${why}`, { details: { feature: scheme }, hint: 'Use a directory path, file: or memory:.' })
  }
  return new DirRoot(place, world, o)
}

/** Looks what the root can do, where it knows how; for a read-write open. Writes nothing that stays. */
export async function probeRoot(root: Root): Promise<Root['caps']> {
  return (await root.probe?.()) ?? root.caps
}
