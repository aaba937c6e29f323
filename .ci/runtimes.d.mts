export interface Runtime {
  readonly name: string
  readonly command: string
  readonly install: string | undefined
  readonly parameters: readonly string[]
}
export interface Installed {
  readonly project: string
  readonly tarball: string
  readonly files: readonly string[]
  readonly unpackedBytes: number
}
export const RUNTIMES: readonly Runtime[]
export function runtimeOf(runtime: Runtime): Promise<{ executable: string; reason?: undefined } | { executable?: undefined; reason: string }>
export function installPacked(parent: string): Promise<Installed>
export function runIn(project: string, executable: string, parameters: readonly string[]): Promise<{ stdout: string; stderr: string }>
export function installed(
  cache: string,
  install: string,
  proof: string,
): Promise<{ folder: string; reason?: undefined } | { folder?: undefined; reason: string }>
