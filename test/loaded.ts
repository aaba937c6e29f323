// What a store loads by its first call of something: loaded here beforehand, since a simulation counts turns of the event loop, and those of the disk are not its.

import '../bindings/log/replica-steps.ts'
import '../bindings/store/applying.ts'
import '../bindings/store/audit.ts'
import '../bindings/store/backup.ts'
import '../bindings/store/diff-stream.ts'
import '../bindings/store/merges.ts'
import '../bindings/store/quorum-gate.ts'
import '../bindings/store/replica.ts'
import '../bindings/store/shipping.ts'
import '../bindings/store/vacuuming.ts'
import '../bindings/store/verify-door.ts'
import '../bindings/upkeep/index.ts'
