// .ci/errors.mjs: writes docs/errors.md from the table in bindings/error-codes.ts; with --check it only compares and exits 1 when the page is stale.
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

import { CODES } from '../bindings/errors.ts'
import { SHIP_CODES } from '../bindings/errors-ship.ts'
import { read } from './sources.mjs'

const PAGE = 'docs/errors.md'

const KINDS = {
  invalid: 'Fix the call.',
  conflict: 'Read again and decide again.',
  fenced: 'Drop the handle and reopen.',
  unavailable: 'Back off and retry, unless the outcome is unknown.',
  corrupt: 'Stop, verify, restore.',
  closed: 'Stop using the handle; reopen if needed.',
  unsupported: 'Upgrade, or choose something else.',
}

/** The whole page: kinds, then one row per class with its codes. */
export function errorsPage(codes = { ...CODES, ...SHIP_CODES }) {
  const kinds = Object.entries(KINDS).map(([kind, action]) => `| \`${kind}\` | ${action} |`)
  const classes = new Map()
  for (const [code, info] of Object.entries(codes)) {
    // The root.* codes differ in kind, so a row is a class with a kind.
    const key = `${info.class} ${info.kind} ${info.meaning} ${info.hint}`
    const row = classes.get(key) ?? { ...info, codes: [] }
    row.codes.push(`\`${code}\``)
    classes.set(key, row)
  }
  const rows = [...classes.values()].map((row) => `| ${row.class} | ${row.kind} | ${row.codes.join(', ')} | ${row.meaning} | ${row.hint} |`)
  return [
    '# Errors',
    '',
    '<!-- Generated from bindings/error-codes.ts and error-codes-ship.ts by .ci/errors.mjs; do not edit. -->',
    '',
    'Every error that varve throws on purpose extends `VarveError` and has `code`, `kind`, `hint`, `details` and often `cause`. Codes are part of the API and do',
    'not change; messages may. `kind` says what the caller does about it:',
    '',
    '| kind | what to do |',
    '|---|---|',
    ...kinds,
    '',
    '`retryable` is true for kind `unavailable`, except where the outcome is undecided (`write.outcome-unknown`, `root.unknown`): ask first, then decide.',
    'An aborted call rejects with the reason of its signal. A plain number out of range throws `RangeError`.',
    '',
    '| class | kind | codes | meaning | hint |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const page = errorsPage()
  if (process.argv.includes('--check')) {
    if (readOrEmpty() !== page) {
      console.error(`${PAGE} is stale: run node .ci/errors.mjs`)
      process.exitCode = 1
    }
  } else writeFileSync(PAGE, page)
}

function readOrEmpty() {
  try {
    return read(PAGE)
  } catch {
    return ''
  }
}
