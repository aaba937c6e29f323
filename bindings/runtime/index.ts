export { soon, systemClock, systemTimers } from './clock.ts'
export { FAILPOINTS, FP, PLANNED } from './failpoint-names.ts'
export type { FailpointCatalogue, FailpointGroup, FailpointName } from './failpoint-names.ts'
export { FailpointError } from './failpoint-error.ts'
export { FailpointRegistry, NO_FAILPOINTS } from './failpoints.ts'
export type { ArmedFailpoint, FailpointAction } from './failpoints.ts'
export { newUlid, newUlidBytes, ULID_BYTES, ulidBytes, ulidMs, ulidText } from './ids.ts'
export { Inbox } from './inbox.ts'
export { lazily } from './lazily.ts'
export { guardLogger, silentLogger } from './logger.ts'
export { Mutex } from './mutex.ts'
export { nodeFiles } from './node-files.ts'
export { nodeHost } from './node-host.ts'
export { bunWorld, defaultWorld, denoWorld, fillWorld, nodeWorld } from './node-world.ts'
export { seededRandom, systemRandom } from './random.ts'
export { showAs } from './shown.ts'
export { isTraced, traced } from './tracing.ts'
export type { TraceMessage, TraceName } from './tracing.ts'
export { Turns } from './turns.ts'
export { createWorkers, INLINE_ONLY, serveTasks, transferring, WorkerCrashedError, workerEntry } from './workers.ts'
export type { CreateWorkersOptions, WorkerTasks } from './workers.ts'
export type {
  ByteStream,
  Failpoints,
  FileHandle,
  FileStat,
  FileSystem,
  Host,
  Listener,
  LogEvent,
  MonoMs,
  Network,
  NetworkAddress,
  TimerHandle,
  TlsOptions,
  UnixMs,
  Workers,
  WorkerTask,
  World,
} from './world.ts'
