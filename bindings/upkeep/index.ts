export { Optimizer } from './optimizer.ts'
export type { OptimizerParts } from './optimizer.ts'
