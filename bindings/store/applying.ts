// store/applying.ts: apply() of an open store, a module of its own: few processes ever call it, and it is loaded by the first call.
export { applySchema, checkApplyOptions } from '../engine/index.ts'
