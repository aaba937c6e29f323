// kernels/exports-columns.ts: the Wasm exports for columns, predicates, sorting and inline bodies, as TypeScript sees them.

// oxlint-disable-next-line typescript/no-empty-object-type -- filled by the column kernels
export interface ColumnExports {}
