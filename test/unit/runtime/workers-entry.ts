// The threads' side of workers.test.ts.
import { serveTasks } from '../../../bindings/runtime/index.ts'

import { tasks } from './workers-tasks.ts'

serveTasks(tasks)
