export interface Import {
  readonly specifier: string
  readonly line: number
  readonly lazy: boolean
  readonly typeOnly: boolean
}
export function listFiles(folder: string, extensions?: readonly string[]): string[]
export function importsOf(source: string): Import[]
export function withoutComments(source: string): string
export function lineOf(source: string, index: number): number
export function matches(path: string, pattern: string): boolean
export function read(path: string): string
