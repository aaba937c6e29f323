export type { Layout, ValueKind, Vec } from './vec.ts'
