// bench/ship.bench.ts: what replicas cost their primary, and how fast they come and come back (issue 6). The ratios are of the same run.
import type { FigureParts } from './figures.ts'
import { idle } from './ship/idle.ts'
import { joining } from './ship/joining.ts'
import { latency } from './ship/latency.ts'
import { memory } from './ship/memory.ts'
import { outage } from './ship/outage.ts'
import { stream } from './ship/stream.ts'
import { transport } from './ship/transport.ts'

export const PARTS: FigureParts = { stream, latency, joining, outage, idle, transport, memory }
