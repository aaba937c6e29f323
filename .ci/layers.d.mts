export interface LayerRules {
  readonly units: Readonly<Record<string, readonly string[]>>
  readonly packages: Readonly<Record<string, readonly string[]>>
  readonly lazy: { readonly except: readonly string[] }
  readonly pure: readonly string[]
}
export function checkLayers(folder?: string, rules?: LayerRules): { files: number; imports: number; breaches: string[] }
