// cli/commands/repair.ts: `varve repair <store>`: what would be put right; with --confirm it is, originals in quarantine, one audit record an action.
import { lsn, type RepairAction, type RepairReport, Store } from '../../index.ts'
import { type Run, wholeOption } from '../command.ts'
import { EXIT } from '../failure.ts'
import { countText, printable } from '../render.ts'
import { lostLines } from './doctor.ts'

export const run: Run = async (context, [path = ''], options) => {
  const confirm = options['confirm'] === true
  const dropAfter = wholeOption(options, 'dropAfter', 0)
  const report = await Store.repair(path, { confirm, signal: context.signal, ...(dropAfter === undefined ? {} : { dropAfter: lsn(dropAfter) }) })
  if (context.json) await context.out.json(report)
  else await context.out.lines(repairLines(report))
  return isLeft(report) ? EXIT.problems : EXIT.ok
}

/** Something is not as it should be, still or for good. */
function isLeft({ actions, problems, refusal }: RepairReport): boolean {
  return problems.length > 0 || refusal !== undefined || actions.some(({ done }) => !done)
}

function repairLines({ confirmed, actions, lost, problems, pending, refusal, quarantine }: RepairReport): string[] {
  if (actions.length === 0 && problems.length === 0 && pending.length === 0)
    return [confirmed ? 'ok: nothing to repair' : 'ok: nothing to repair; nothing was changed']
  const done = actions.filter((action) => action.done).length
  const left = actions.length - done
  const wanted = actions.find(({ needs }) => needs !== undefined)?.needs
  const ends = confirmed
    ? [
        `${countText(done)} ${done === 1 ? 'action' : 'actions'} done${left === 0 ? '' : `, ${countText(left)} not`}`,
        ...quarantine.map((folder) => `originals and notes: ${printable(folder)}`),
      ]
    : ['preview: nothing was changed']
  const next =
    left === 0 || refusal !== undefined
      ? []
      : [wanted === undefined ? 'varve repair --confirm does it' : `varve repair --confirm ${wanted} does it, and loses what is listed`]
  return [
    ...actions.flatMap((action) => actionLines(action, confirmed)),
    ...problems.flatMap(({ file, message, advice }) => [`cannot be repaired: ${printable(file)}`, `  ${printable(message)}`, `  ${printable(advice)}`]),
    ...(lost === undefined ? [] : ['', ...lostLines(lost)]),
    ...(pending.length === 0
      ? []
      : [
          '',
          `${countText(pending.length)} undecided ${pending.length === 1 ? 'write' : 'writes'}: repair leaves files alone beside them; varve doctor shows who decides them`,
          ...pending.map((writeId) => `  ${printable(writeId)}`),
          ...(refusal === undefined ? [] : [`varve repair --confirm refuses: ${printable(refusal.message)}`, `  ${printable(refusal.advice)}`]),
        ]),
    '',
    ...ends,
    ...next,
  ]
}

function actionLines({ kind, file, detail, safe, done }: RepairAction, confirmed: boolean): string[] {
  const state = done ? 'done' : confirmed ? 'not done' : safe ? 'safe' : 'may lose commits'
  return [`${kind}  ${printable(file)}  (${state})`, `  ${printable(detail)}`]
}
