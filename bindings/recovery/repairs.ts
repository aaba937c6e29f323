// recovery/repairs.ts: doctor and repair for the rest of varve. Few processes ever call one, so their modules are loaded by the first call.
//
// Invariant: nothing but this file imports them statically for their functions; the bundle then keeps them in files of their own.
import type { RepairReport } from '../table/index.ts'
import type { DoctorReport } from './doctor.ts'
import type { FileParts } from './repair-files.ts'
import type { AppendAudit, RepairOptions, RepairParts } from './repair.ts'

/** What doctor sees; changes nothing (doctor.ts). */
export async function examineStore(parts: RepairParts): Promise<DoctorReport> {
  return await (await import('./doctor.ts')).examineStore(parts)
}

/** Repairs a store that nobody has open (repair.ts). */
export async function repairRoot(parts: RepairParts, o?: RepairOptions): Promise<RepairReport> {
  return await (await import('./repair.ts')).repairRoot(parts, o)
}

/** Repairs files of a store that is open (repair.ts). */
export async function repairOpen(parts: FileParts, audit: AppendAudit, o: RepairOptions): Promise<RepairReport> {
  return await (await import('./repair.ts')).repairOpen(parts, audit, o)
}
