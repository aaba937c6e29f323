export interface Entry {
  readonly path: string
  readonly exported?: string
}
export const ENTRIES: readonly Entry[]
export function bundle(folder: string): Promise<void>
export function loadedBy(file: string): { files: string[]; packages: string[] }
