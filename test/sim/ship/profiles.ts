// What happens how often, by profile (shipping.md section 17).

export type EventName =
  | 'append'
  | 'retry'
  | 'mode'
  | 'reship'
  | 'deliver'
  | 'tick'
  | 'crash'
  | 'restart'
  | 'partition'
  | 'heal'
  | 'endpoint'
  | 'epoch'
  | 'checkpoint'
  | 'optimize'
  | 'reclaim'
  | 'corrupt'
  | 'slow'
  | 'fault'
  | 'assign'

export type ProfileName = 'default' | 'lossy' | 'crash-heavy' | 'reclaim-heavy' | 'churn' | 'corrupt' | 'operated' | 'disk-faults'

export interface Profile {
  readonly weights: Readonly<Record<EventName, number>>
  /** Of a thousand frames: connection breaks there, the frame comes twice, its bytes are damaged. */
  readonly breaks: number
  readonly doubles: number
  readonly damages: number
  /** Versions that a reclaim keeps. */
  readonly keeps: number
  /** Assignments change who votes. */
  readonly isElectorateOpen: boolean
}

const WEIGHTS: Readonly<Record<EventName, number>> = {
  append: 30,
  retry: 3,
  mode: 0,
  reship: 0,
  deliver: 25,
  tick: 15,
  crash: 4,
  restart: 6,
  partition: 4,
  heal: 5,
  endpoint: 2,
  epoch: 2,
  checkpoint: 2,
  optimize: 2,
  reclaim: 3,
  corrupt: 0,
  slow: 1,
  fault: 0,
  assign: 1,
}
const DEFAULT: Profile = { weights: WEIGHTS, breaks: 1, doubles: 1, damages: 0, keeps: 20, isElectorateOpen: false }

export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  default: DEFAULT,
  lossy: { ...DEFAULT, weights: { ...WEIGHTS, partition: 8, heal: 8 }, breaks: 30, doubles: 20, damages: 5 },
  'crash-heavy': { ...DEFAULT, weights: { ...WEIGHTS, crash: 10, restart: 14, slow: 3 } },
  'reclaim-heavy': { ...DEFAULT, weights: { ...WEIGHTS, checkpoint: 6, reclaim: 10 }, keeps: 1 },
  churn: { ...DEFAULT, weights: { ...WEIGHTS, endpoint: 6, epoch: 5, assign: 5 }, isElectorateOpen: true },
  // Cold data may rot here only: whoever finds it may refuse, and a halted replica is no failure of liveness.
  corrupt: { ...DEFAULT, weights: { ...WEIGHTS, corrupt: 0.5, checkpoint: 4 }, damages: 2 },
  // Somebody is at it.
  operated: { ...DEFAULT, weights: { ...WEIGHTS, mode: 2, reship: 2, epoch: 3 } },
  // Disks of replicas fail for a while.
  'disk-faults': { ...DEFAULT, weights: { ...WEIGHTS, fault: 4, restart: 12, checkpoint: 4 } },
}
export const PROFILE_NAMES: readonly ProfileName[] = Object.keys(PROFILES) as ProfileName[]
