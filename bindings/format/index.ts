export { layoutOf, valueKindOf } from './types.ts'
export type { ColumnDef, ColumnType, FieldDef, TableSchema, TimeUnit } from './types.ts'
