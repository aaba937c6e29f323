export { classify, classifyParticipant } from './classify.ts'
export type { Decision, DecisionKind, Evidence, ObservedIntent, Observed, ObservedFile, ObservedParticipant, ParticipantClass } from './classify.ts'
