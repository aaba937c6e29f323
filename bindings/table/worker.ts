// table/worker.ts: entry module of a worker thread.
import { serveTasks } from '../runtime/index.ts'
import { WORKER_TASKS } from './worker-tasks.ts'

serveTasks(WORKER_TASKS)
