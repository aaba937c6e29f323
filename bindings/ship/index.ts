export { errorMessage, errorOf } from './error-frame.ts'
export { budgetCheckMs, CATCH_UP_BUDGET, REBUILD_BUDGET, resolveBudget } from './budget.ts'
export { classify, PROTOCOL_VERSION } from './classify.ts'
export type { ClassifyOptions } from './classify.ts'
export { checkedEndpoint, parseAddress } from './endpoint.ts'
export { digestQuestion, isReplayable, matchPoint } from './match-point.ts'
export { decideSource } from './rebuild-source.ts'
export type { RebuildDecision } from './rebuild-source.ts'
export { RecoveryLog } from './recovery-log.ts'
export type { RecoveryEvent, RecoveryEventName, RecoveryLogOptions } from './recovery-log.ts'
export { Registry } from './registry.ts'
export type { AssignmentResult, RegistryStatus } from './registry.ts'
export { replicaId } from './replica-id.ts'
export { SessionSequence } from './sender-nouns.ts'
export type { LiveStream, SenderChange, SenderStatus, ShipContext } from './sender-nouns.ts'
export { Sender } from './sender.ts'
export { TcpTransport } from './tcp-transport.ts'
export type { TcpTransportOptions, TlsOptions } from './tcp-transport.ts'
export { sessionText } from './session-phase.ts'
export type { EndReason } from './session-phase.ts'
export type { SessionOptions, SessionStatus } from './session.ts'
export { ShippingDriver } from './driver.ts'
export { observeReplica } from './observe.ts'
export type { ObserveOptions } from './observe.ts'
export type { AckSink } from './replica-task.ts'
export { STREAM_LIMITS } from './shipper.ts'
export { Tape } from './tape.ts'
export { MemoryNetwork } from './memory-network.ts'
export { AckTracker } from './ack.ts'
export type { AckTrackerOptions, Amnesia } from './ack.ts'
export { candidates, forcePromotion } from './candidates.ts'
export type { Candidate, ForcedPromotion, NodeRecord, Promotion, PromotionContext } from './candidates.ts'
export type { MemoryNetworkOptions, MemoryTransportOptions, QueuedLane } from './memory-network.ts'
export { CatchUpExecutor } from './catch-up-executor.ts'
export type { CatchUpExecutorOptions } from './catch-up-executor.ts'
export type { ExecutorOptions } from './executor.ts'
export { manifestHash } from './manifest.ts'
export { Planner } from './planner.ts'
export type { PlannerParts, Questions } from './planner.ts'
export { RebuildExecutor } from './rebuild-executor.ts'
export type { RebuildExecutorOptions } from './rebuild-executor.ts'
export type {
  AckMode,
  Agreement,
  Assignment,
  BudgetVerdict,
  CatchUpBudget,
  CatchUpIO,
  Elided,
  Endpoint,
  EpochMark,
  Fence,
  FileRef,
  FullBasePin,
  Handshake,
  Hello,
  HistorySource,
  Link,
  LinkHost,
  Manifest,
  Message,
  Outcome,
  PinKind,
  PinLimit,
  PinLogOptions,
  RebuildIO,
  RecoverabilityProof,
  RecoveryPlan,
  ReplicaAssignment,
  ReplicaId,
  ReplicaState,
  RetainedHistory,
  RunResult,
  SessionId,
  SessionKind,
  SessionPhase,
  ShipPin,
  Step,
  StepKind,
  StreamGrant,
  StreamOptions,
  StreamSink,
  Transport,
  Want,
  WireFrame,
} from './types.ts'
export { decidedAt, fenceReplica, recordOf } from './fence.ts'
export type { DecidedAt } from './one-decision.ts'
export type { FenceOptions } from './fence.ts'
export { baseUnderWay, endBase } from './host-base.ts'
export { gap } from './host-entries.ts'
export { factsOf } from './host-link.ts'
export type { LinkMode } from './host-link.ts'
export type { AcceptedFence, BaseTarget, ReceivedRecords, ReplicaParts, SelfCheck } from './host-parts.ts'
export { VerifiedFiles } from './verified-files.ts'
export { ReplicaHost } from './host.ts'
export type { HostStatus } from './host.ts'
