export interface Ban {
  readonly name: string
  readonly pattern: RegExp
  readonly in: readonly string[]
  readonly except?: readonly string[]
  readonly raw?: boolean
  readonly instead: string
}
export const BANS: readonly Ban[]
export function checkBans(bans?: readonly Ban[], folders?: readonly string[]): { files: number; hits: string[] }
