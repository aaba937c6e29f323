export { mergeInto, revertTo } from './merge.ts'
export type { MergeRequest } from './merge.ts'
export { ancestry, mergeBase } from './plan-base.ts'
export type { Lineage } from './plan-base.ts'
