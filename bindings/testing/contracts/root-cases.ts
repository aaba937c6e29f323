// testing/contracts/root-cases.ts: what the parts of the root contract share: the place under test, and short ways to ask it.
import type { Root, SegmentFile } from '../../root/index.ts'
import type { FakeFiles } from '../fake-files.ts'

export interface RootFixture {
  readonly root: Root
  /** Another handle on the same place, where there can be one. */
  readonly peer?: () => Promise<Root>
  /** The place after a power cut now, seeded; where it can be simulated. */
  readonly crash?: (seed: number) => Promise<Root>
  /** The traced file system under the root, where it is a fake one. */
  readonly files?: FakeFiles
  /** Makes the next calls fail for want of permission, where that can be arranged. */
  readonly deny?: () => Promise<void>
  readonly dispose?: () => Promise<void>
}

/** Registers one case; the fixture is made for it and disposed after it. */
export type RootCase = (title: string, body: (f: RootFixture) => Promise<void>) => void

/** For speed where durability is not the point. */
export const ASYNC: { readonly sync: false } = { sync: false }

export function written(segment: SegmentFile, at: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => segment.write(at, bytes, (error) => (error === null ? resolve() : reject(error))))
}

export function synced(segment: SegmentFile): Promise<void> {
  return new Promise((resolve, reject) => segment.datasync((error) => (error === null ? resolve() : reject(error))))
}

export async function names(root: Root, prefix: string, o?: { after?: string; limit?: number }): Promise<string[]> {
  return (await infos(root, prefix, o)).map(({ name }) => name)
}

export async function infos(root: Root, prefix: string, o?: { after?: string; limit?: number }): Promise<{ name: string; size: number; tag: string }[]> {
  const all: { name: string; size: number; tag: string }[] = []
  for await (const info of root.list(prefix, o)) all.push(info)
  return all
}
