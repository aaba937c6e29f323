export { AutoOptimize } from './auto-optimize.ts'
export { Optimizer } from './optimizer.ts'
