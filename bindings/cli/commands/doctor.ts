// cli/commands/doctor.ts: `varve doctor <store>`: what is pending, damaged or drifting, and who would do what about it. Changes nothing.
import { type DoctorFinding, type DoctorReport, type LostHistory, Store } from '../../index.ts'
import type { Run } from '../command.ts'
import { EXIT } from '../failure.ts'
import { bytesText, countText, durationText, factLines, printable, tableLines } from '../render.ts'

const LOST_SHOWN = 20

export const run: Run = async (context, [path = '']) => {
  const report = await Store.doctor(path, { signal: context.signal })
  if (context.json) await context.out.json(report)
  else await context.out.lines(doctorLines(report))
  return report.ok ? EXIT.ok : EXIT.problems
}

function doctorLines(report: DoctorReport): string[] {
  const { findings, pending, lost } = report
  const needed = findings.filter(({ needsPerson }) => needsPerson).length
  const first =
    findings.length === 0
      ? 'ok: nothing is pending, damaged or drifting'
      : needed === 0
        ? `ok: ${countText(findings.length)} ${findings.length === 1 ? 'thing' : 'things'} to know, none of which needs you`
        : `${countText(needed)} ${needed === 1 ? 'thing needs' : 'things need'} a person`
  const areas = (['damaged', 'pending', 'drifting'] as const).flatMap((area) => {
    const found = findings.filter((finding) => finding.area === area)
    return found.length === 0 ? [] : ['', area, ...found.flatMap(findingLines)]
  })
  const writes = pending.map(({ writeId, kind, mode, state, ageMs, message }) => [writeId, kind, mode, state, durationText(ageMs), message ?? ''])
  return [
    first,
    ...areas,
    ...(writes.length === 0
      ? []
      : ['', ...tableLines(['write', 'kind', 'mode', 'state', 'age', 'message'], writes, ['left', 'left', 'left', 'left', 'right'])]),
    ...(lost === undefined ? [] : ['', ...lostLines(lost)]),
    '',
    ...factsOf(report),
  ]
}

function findingLines({ what, detail, who, advice }: DoctorFinding): string[] {
  return [`  ${printable(what)}`, `    ${printable(detail)}`, `    ${who}: ${printable(advice)}`]
}

/** What a cut of the log takes away: also for `varve repair`. */
export function lostLines({ after, through, commits, unreadable }: LostHistory): string[] {
  const shown = commits.slice(0, LOST_SHOWN)
  const rows = shown.map(({ lsn, kind, time, author, message, tables }) => [
    String(lsn),
    time?.toISOString() ?? '',
    kind,
    author ?? '',
    [
      ...(message === undefined ? [] : [message]),
      ...tables.map(({ table, inserted, updated, deleted }) => `${table} +${inserted} ~${updated} -${deleted}`),
    ].join('  '),
  ])
  const more = commits.length - shown.length
  return [
    `a cut after LSN ${after} loses what the log held up to LSN ${through}: ${countText(commits.length)} readable records that bring or change something${unreadable === 0 ? '' : `, and ${countText(unreadable)} that cannot be read`}`,
    ...(rows.length === 0 ? [] : tableLines(['LSN', 'time', 'kind', 'author', 'what'], rows, ['right'])),
    ...(more === 0 ? [] : [`… and ${countText(more)} more; --json has all`]),
  ]
}

function factsOf({ id, facts }: DoctorReport): string[] {
  const { lock, log, checkpoints, clean, staging, leases, quarantine } = facts
  const epoch = log.epochs.at(-1)
  const kept = quarantine.reduce((sum, { bytes }) => sum + bytes, 0)
  return [
    ...factLines([
      ['store', id],
      ['lock', lockText(lock)],
      [
        'log',
        `LSN ${log.tail} to ${log.head} in ${countText(log.segments)} ${log.layout}, ${bytesText(log.bytes)}${log.layout === 'segments' && !log.sealed ? ', not sealed: in use, or its writer was killed' : ''}`,
      ],
      ['epoch', epoch === undefined ? (log.layout === 'slots' ? 'none: its writers share the log' : 'none') : `${epoch.epoch} since LSN ${epoch.firstLsn}`],
      ['checkpoints', checkpoints.length === 0 ? 'none' : `${countText(checkpoints.length)}, the newest at LSN ${checkpoints[0]}`],
      ['clean close', clean === undefined ? 'none' : `LSN ${clean}`],
      ['staging', staging.length === 0 ? 'empty' : `${countText(staging.length)} ${staging.length === 1 ? 'write' : 'writes'}`],
      ['pins', leases.length === 0 ? 'none of other processes' : leases.map((name) => printable(name)).join(', ')],
      [
        'quarantine',
        quarantine.length === 0 ? 'empty' : `${bytesText(kept)} in ${countText(quarantine.length)} ${quarantine.length === 1 ? 'folder' : 'folders'}`,
      ],
    ]),
    ...quarantine.flatMap(({ folder, files, bytes, notes }) => [
      `  ${printable(folder)}  ${countText(files)} ${files === 1 ? 'file' : 'files'}, ${bytesText(bytes)}`,
      ...notes.map(({ kind, from, at, why }) => `    ${at}  ${kind} ${printable(from)}: ${printable(why)}`),
    ]),
  ]
}

function lockText(lock: DoctorReport['facts']['lock']): string {
  const { number, state, holder, alive } = lock
  if (state === 'absent') return 'was never taken'
  if (state === 'released') return `LOCK.${number} is released`
  if (state === 'unreadable') return `LOCK.${number} cannot be read: if no process has the store open, varve unlock --force`
  const runs = alive === true ? 'which is running' : alive === false ? 'which is gone: the next open takes it over' : 'of which nothing can be told from here'
  return `LOCK.${number} is held by process ${holder!.pid} on ${printable(holder!.host)}, ${runs}`
}
