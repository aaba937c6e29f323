// runtime/logger.ts: where events go. A library prints nothing by itself, so the default logger is silent; a logger that throws is ignored.
import type { LogEvent, World } from './world.ts'

export const silentLogger: World['logger'] = { log() {} }

/** Wraps a user's logger so that an error in it never reaches the engine. */
export function guardLogger(logger: World['logger']): World['logger'] {
  if (logger === silentLogger) return logger
  return {
    log(event: LogEvent) {
      try {
        logger.log(event)
      } catch {
        // core.md section 10: a throwing logger is ignored
      }
    },
  }
}
