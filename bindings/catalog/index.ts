export { Catalog } from './catalog.ts'
export type { CatalogFragment, CatalogTable, RememberedKey } from './catalog.ts'
export { checkpointBody, checkpointName, decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
export type { Checkpoint } from './checkpoint.ts'
