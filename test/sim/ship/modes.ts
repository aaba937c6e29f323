// Acknowledgement modes by strength.

import { ACK_MODES, type AckMode } from '../../../bindings/format/index.ts'

/** Of some, at least one. */
export function strongest(modes: Iterable<AckMode>): AckMode {
  return ACK_MODES[Math.max(...[...modes].map((mode) => ACK_MODES.indexOf(mode)))]!
}

export function weakest(modes: Iterable<AckMode>): AckMode {
  return ACK_MODES[Math.min(...[...modes].map((mode) => ACK_MODES.indexOf(mode)))]!
}
