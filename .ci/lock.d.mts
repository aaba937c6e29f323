export interface Lock {
  readonly packages: Readonly<Record<string, object>>
}
export function missingPackages(lock: Lock): Record<string, object>
