#!/usr/bin/env node
// cli/main.ts: the command `varve`: arguments, help, exit codes; each command is loaded when it is asked for.
//
// Invariant: the exit code says how it ended (failure.ts), whatever happened; no command ends the process itself.
import { readFile } from 'node:fs/promises'
import { Command, CommanderError, Option } from 'commander'
import type { Run } from './command.ts'
import { BrokenPipe, errorJson, errorText, EXIT, EXIT_CODES, exitCodeOf } from './failure.ts'
import { Output } from './output.ts'

interface CommandSpec {
  readonly usage: string
  readonly summary: string
  /** Flags and what they do; `many`: may be given again and again. */
  readonly options: readonly (readonly [flags: string, summary: string, many?: 'many'])[]
  readonly examples?: readonly string[]
  readonly load: () => Promise<Run>
}

const AT = ['--at <position>', 'as it was: an LSN, an ISO date, or the name of a tag or branch'] as const
const BRANCH = ['--branch <name>', 'rows of this branch (default: main)'] as const
const QUERY = [
  ['--where <expression>', "rows to read, such as \"delay > 60 and origin in ('SFO', 'LAX')\""],
  ['--select <columns>', 'columns, with commas between them'],
  ['--order-by <columns>', 'such as "delay desc,id"'],
  ['--limit <n>', 'at most so many rows'],
  AT,
  BRANCH,
] as const
const REPLICAS = [
  ['--replica <id=host:port>', 'a replica that counts; may be repeated', 'many'],
  ['--learner <id=host:port>', 'one that only follows; may be repeated', 'many'],
] as const
const SECRETS = [
  ['--key-file <file>', 'the secret of both sides, 32 bytes or 64 hex digits; needed beyond this machine'],
  ['--tls-cert <file>', 'certificate, PEM'],
  ['--tls-key <file>', 'its private key, PEM'],
  ['--tls-ca <file>', 'who may have signed the certificate of the other side, PEM'],
] as const

const COMMANDS: readonly CommandSpec[] = [
  {
    usage: 'demo',
    summary: 'import 3 million flights, ask, upsert, crash a writer, recover, go back in time; every claim is checked',
    options: [
      ['--dir <path>', 'where the store is made; must be empty or absent (default: a new folder for temporary files)'],
      ['--rows <n>', 'only the first so many flights'],
      ['--data <file>', 'the Parquet file of flights (default: of the package vega-datasets)'],
    ],
    load: async () => (await import('./commands/demo.ts')).run,
  },
  {
    usage: 'init <store>',
    summary: 'make a store, and tables from definition files',
    options: [['--table <file>', 'definitions as JSON, as varve schema --json prints them; may be repeated', 'many']],
    load: async () => (await import('./commands/init.ts')).run,
  },
  {
    usage: 'import <store> <table> <file>',
    summary: 'load a file as one commit; makes store and table when they are not there. "-" is stdin',
    options: [
      ['--format <format>', 'csv, tsv, ndjson, parquet or arrow (default: by the extension)'],
      ['--key <columns>', 'key of a new table'],
      ['--type <column=type>', 'type of a column of a new table where the guess is wrong, such as delay=int16; may be repeated', 'many'],
      ['--add-id <column>', 'a column of row numbers (int64), the key unless --key names another'],
      ['--upsert', 'rows replace those of the same key'],
      ['--replace', 'rows replace all that the table has'],
      ['--batch-rows <n>', 'rows converted at a time (default: 16384)'],
      ['--no-header', 'CSV whose first line is a row; columns are c1, c2, ...'],
      ['--delimiter <character>', 'of CSV (default: ",")'],
      ['--message <text>', 'kept in the commit'],
      ['--branch <name>', 'into this branch (default: main)'],
    ],
    examples: ['varve import ./data flights flights.parquet --add-id id', 'zcat log.gz | varve import ./data log - --format ndjson'],
    load: async () => (await import('./commands/import.ts')).run,
  },
  {
    usage: 'export <store> <table>',
    summary: 'write a table, or part of it, to a file or to stdout',
    options: [
      ['-o, --output <file>', 'the file; appears when it is whole (default: stdout)'],
      ['--format <format>', 'csv, tsv, ndjson, parquet, arrow (IPC file) or arrows (IPC stream) (default: by the extension)'],
      ...QUERY,
    ],
    load: async () => (await import('./commands/scan.ts')).runExport,
  },
  {
    usage: 'tables <store>',
    summary: 'list the tables',
    options: [AT],
    load: async () => (await import('./commands/inspect.ts')).runTables,
  },
  {
    usage: 'schema <what> [store] [file]',
    summary:
      'show <store> [table]: the definitions ("show" may be left out), with --json as files hold them; diff or apply <store> <file>: make them what a file says',
    options: [
      AT,
      ['--drop <tables>', 'of diff and apply: tables to drop, with commas between them'],
      ['--allow-data-loss', 'of apply: dropping tables and columns is meant'],
      ['--dry-run', 'of apply: say what would be done'],
    ],
    examples: [
      'varve schema ./data --json > tables.json',
      'varve schema diff ./data tables.ts',
      'varve schema apply ./data tables.json --drop scratch --allow-data-loss',
    ],
    load: async () => (await import('./commands/schema.ts')).run,
  },
  {
    usage: 'scan <store> <table>',
    summary: 'read rows (a table shows the first 100; --json is ndjson)',
    options: [
      ['--format <format>', 'table, csv, tsv, ndjson, parquet, arrow (IPC file) or arrows (IPC stream) (default: table)'],
      ...QUERY,
      ['--explain', 'show what would be read instead of reading it'],
    ],
    examples: ['varve scan ./data flights --where "delay > 60" --select origin,delay --order-by "delay desc" --limit 10'],
    load: async () => (await import('./commands/scan.ts')).runScan,
  },
  {
    usage: 'get <store> <table> <key>',
    summary: 'read one row by its key: 42, a=1,b=x, or JSON',
    options: [AT, BRANCH],
    load: async () => (await import('./commands/get.ts')).run,
  },
  {
    usage: 'log <store>',
    summary: 'show the newest commits',
    options: [
      ['--limit <n>', 'at most so many (default: 20)'],
      ['--from <lsn>', 'only what came after this position'],
      ['--table <name>', 'only commits that touched it'],
      ['--branch <name>', 'the history of this branch (default: main)'],
    ],
    load: async () => (await import('./commands/inspect.ts')).runLog,
  },
  {
    usage: 'stats <store>',
    summary: 'show sizes and rates: log, commits, tables, fragments, indexes',
    options: [],
    load: async () => (await import('./commands/stats.ts')).run,
  },
  {
    usage: 'top <store>',
    summary: 'watch a store that any process writes, until Ctrl-C; plain frames where stdout is no terminal',
    options: [
      ['--interval <ms>', 'between two frames (default: 1000)'],
      ['--count <n>', 'so many frames'],
      ['--once', 'one frame'],
    ],
    load: async () => (await import('./commands/top.ts')).run,
  },
  {
    usage: 'optimize <store>',
    summary: 'fewer, full fragments without deleted rows, and every index that is declared; rows and history stay',
    options: [
      ['--table <names>', 'only these, with commas (default: all)'],
      ['--branch <name>', 'tables of this branch (default: main)'],
      ['--target-rows <n>', 'rows of a full fragment'],
      ['--budget <ms>', 'begin nothing further after it'],
    ],
    examples: ['varve optimize ./data', 'varve optimize ./data --table flights --json'],
    load: async () => (await import('./commands/optimize.ts')).run,
  },
  {
    usage: 'serve <store>',
    summary: 'be the primary: ship the store to replicas, until Ctrl-C',
    options: [
      ...REPLICAS,
      ['--ack <mode>', 'async, quorum or all: how many must have a commit before it counts (default: as the store says)'],
      [
        '--epoch <n>',
        'the epoch to take, at least, where replicas were fenced and none was promoted: they follow none that only started (default: the next one)',
      ],
      ['--append <table>', 'commit each line of stdin, a JSON object, as a row of this table; end with stdin'],
      ['--seconds <n>', 'end after so long'],
      ...SECRETS,
    ],
    examples: [
      'varve serve ./data --replica r1=127.0.0.1:7701 --replica r2=127.0.0.1:7702 --ack quorum',
      'tail -f rows.ndjson | varve serve ./data --replica r1=127.0.0.1:7701 --append events',
    ],
    load: async () => (await import('./commands/serve.ts')).run,
  },
  {
    usage: 'replica <store>',
    summary: 'be a replica: listen for the primary and follow it, until Ctrl-C; the folder may be empty or a former primary',
    options: [
      ['--id <name>', 'the name of this replica, which stays'],
      ['--listen <address>', 'host:port; port 0: any free one (default: 127.0.0.1:0)'],
      ...SECRETS,
    ],
    examples: ['varve replica ./copy --id r1 --listen 127.0.0.1:7701'],
    load: async () => (await import('./commands/replica.ts')).run,
  },
  {
    usage: 'promote <store>',
    summary: 'make a replica that nobody has open the primary: it takes the next epoch, whoever had one before is fenced',
    options: [
      ['--id <name>', 'the name of the replica'],
      ['--epoch <n>', 'the epoch to take, at least (default: the next one)'],
      ['--accept-loss-above <lsn>', 'of a store in mode async: what the old primary had above it may be lost'],
    ],
    examples: ['varve promote ./copy --id r1', 'varve promote ./copy --id r1 --accept-loss-above 1200'],
    load: async () => (await import('./commands/replica.ts')).runPromote,
  },
  {
    usage: 'ship <what> [store]',
    summary: 'status: what replicas say of themselves and whether their histories are one; with the store, how far they are behind. Exit code 3 when not',
    options: [...REPLICAS, ['--interval <ms>', 'between two looks (default: 1000)'], ['--count <n>', 'so many looks'], ['--once', 'one look'], ...SECRETS],
    examples: ['varve ship status ./data --replica r1=127.0.0.1:7701 --replica r2=127.0.0.1:7702 --once'],
    load: async () => (await import('./commands/ship.ts')).run,
  },
  {
    usage: 'backup <store> <target>',
    summary: 'copy a store, while it is written to; onto an older backup of it only what is new',
    options: [AT],
    examples: ['varve backup ./data /backups/data'],
    load: async () => (await import('./commands/backup.ts')).runBackup,
  },
  {
    usage: 'restore <from> <to>',
    summary: 'make a store of a backup, as it is or was; <to> must be empty',
    options: [AT, ['--new-id', 'the store gets an id of its own: a copy beside one that goes on']],
    examples: ['varve restore /backups/data ./data', 'varve restore /backups/data ./then --at 2026-11-20T12:00:00Z --new-id'],
    load: async () => (await import('./commands/backup.ts')).runRestore,
  },
  {
    usage: 'vacuum <store>',
    summary: 'delete files and log that no kept version needs; tags, branches and open writes keep theirs',
    options: [
      ['--keep-days <n>', 'keep every version of the last n days'],
      ['--keep-versions <n>', 'keep the newest n commits; 1: nothing older than the newest version of each branch'],
      ['--dry-run', 'tell what would go, and what is held back by what; change nothing'],
    ],
    examples: ['varve vacuum ./data --keep-days 7 --dry-run', 'varve vacuum ./data --keep-versions 100'],
    load: async () => (await import('./commands/vacuum.ts')).run,
  },
  {
    usage: 'verify <store>',
    summary: 'check every byte; exit code 3 when something is wrong',
    options: [
      ['--level <level>', 'log, files or all (default: all)'],
      ['--against <store>', 'a store or backup that must have the same history, as far as both reach'],
    ],
    load: async () => (await import('./commands/inspect.ts')).runVerify,
  },
  {
    usage: 'doctor <store>',
    summary: 'what is pending, damaged or drifting, and who would do what; changes nothing. Exit code 3 when something needs a person',
    options: [],
    load: async () => (await import('./commands/doctor.ts')).run,
  },
  {
    usage: 'repair <store>',
    summary: 'show what would be put right; with --confirm do it. Exit code 3 when something is left',
    options: [
      ['--confirm', 'do it; originals go to quarantine'],
      ['--drop-after <lsn>', 'of a damaged log keep what is up to this LSN, and lose what repair lists'],
    ],
    examples: ['varve repair ./data', 'varve repair ./data --confirm --drop-after 1200'],
    load: async () => (await import('./commands/repair.ts')).run,
  },
  {
    usage: 'staged <what> <store> [id]',
    summary: 'ls: list the writes that were sealed and wait; publish or rollback one of them',
    options: [['--reason <text>', 'of a rollback; kept in the log']],
    examples: ['varve staged ls ./data', 'varve staged publish ./data 01JD3Q0V6W2M5K8YB1ZC4E7N9T'],
    load: async () => (await import('./commands/staged.ts')).run,
  },
  {
    usage: 'diff <store> <from> <to>',
    summary: 'what became of rows from one version to another: LSNs, ISO dates, names of branches or tags',
    options: [
      ['--table <tables>', 'only these tables, with commas between them (default: all with a key)'],
      ['--limit <n>', 'at most so many changes'],
    ],
    examples: ['varve diff ./data main dev', 'varve diff ./data v1 main --table flights --json'],
    load: async () => (await import('./commands/diff.ts')).run,
  },
  {
    usage: 'merge <store> <source>',
    summary: 'merge a branch into another one, in one commit',
    options: [
      ['--into <branch>', 'the branch that gets the rows (default: main)'],
      ['--on-conflict <what>', 'fail, ours or theirs (default: fail)'],
      ['--granularity <what>', 'column: rows changed on both sides are merged column by column; row: they are in conflict (default: column)'],
      ['--dry-run', 'write nothing; show what would be'],
      ['--message <text>', 'kept in the commit'],
      ['--author <text>', 'kept in the commit'],
    ],
    examples: ['varve merge ./data dev', 'varve merge ./data dev --on-conflict theirs --message "the new prices"'],
    load: async () => (await import('./commands/merge.ts')).run,
  },
  {
    usage: 'branch <what> <store> [name]',
    summary: 'ls: list the branches; create or delete one',
    options: [['--from <position>', 'what a new one begins with: an LSN, an ISO date, or the name of a tag or branch (default: main as it is)']],
    examples: ['varve branch create ./data dev', 'varve branch create ./data fix --from v1', 'varve scan ./data flights --branch dev'],
    load: async () => (await import('./commands/branch.ts')).runBranch,
  },
  {
    usage: 'tag <what> <store> [name]',
    summary: 'ls: list the tags; create or delete one',
    options: [
      ['--at <position>', 'what it names: an LSN, an ISO date, or the name of a tag or branch (default: main as it is)'],
      ['--message <text>', 'kept with it'],
    ],
    examples: ['varve tag create ./data v1 --message "first release"', 'varve scan ./data flights --at v1'],
    load: async () => (await import('./commands/branch.ts')).runTag,
  },
  {
    usage: 'audit <store>',
    summary: 'list the records of the log: what happened, by whom, what recovery and repair did',
    options: [
      ['--from <lsn>', 'only what came after this position'],
      ['--kind <kinds>', 'only these kinds, with commas between them'],
    ],
    load: async () => (await import('./commands/audit.ts')).run,
  },
  {
    usage: 'bench',
    summary: 'measure commits, load, gets and scans on a store of its own',
    options: [
      ['--dir <path>', 'the folder to measure in (default: that of temporary files)'],
      ['--rows <n>', 'rows to load (default: 200000)'],
    ],
    load: async () => (await import('./commands/bench.ts')).run,
  },
  {
    usage: 'unlock <store>',
    summary: 'show whose the lock is; --force outranks it when its owner is gone',
    options: [
      ['--force', 'outrank the lock; refused while its owner runs on this host'],
      ['--yes', 'do not ask'],
    ],
    load: async () => (await import('./commands/unlock.ts')).run,
  },
]

const controller = new AbortController()
const out = new Output()

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  let code: number = EXIT.ok
  const program = await build((given) => {
    code = given
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    await out.end()
  } catch (error) {
    code = failed(error, argv)
  } finally {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
  return code
}

/** The first asks the command to stop, the second does not ask. */
function interrupt(): void {
  // oxlint-disable-next-line unicorn/no-process-exit -- the user insists
  if (controller.signal.aborted) process.exit(EXIT.interrupted)
  controller.abort(new Error('interrupted'))
}

function failed(error: unknown, argv: readonly string[]): number {
  if (error instanceof BrokenPipe) return EXIT.ok
  // Help and version end here too; commander has printed what there is to say.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
  if (controller.signal.aborted) {
    process.stderr.write('interrupted\n')
    return EXIT.interrupted
  }
  const debug = argv.includes('--debug')
  process.stderr.write(argv.includes('--json') ? errorJson(error, debug) : errorText(error, debug))
  return exitCodeOf(error)
}

async function build(onCode: (code: number) => void): Promise<Command> {
  const program = new Command('varve')
  program.description('An embedded, crash-safe, versioned table store: Arrow in, Arrow out, one commit log.')
  program.version(await version(), '-V, --version', 'print the version')
  program.exitOverride()
  program.showHelpAfterError('(--help shows how)')
  program.addHelpText('after', `\nExit codes:\n${EXIT_CODES.map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`).join('\n')}`)
  for (const spec of COMMANDS) addCommand(program, spec, onCode)
  return program
}

function addCommand(program: Command, spec: CommandSpec, onCode: (code: number) => void): void {
  const command = program.command(spec.usage).description(spec.summary)
  for (const [flags, description, many] of spec.options) {
    const option = new Option(flags, description)
    if (many !== undefined) option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value])
    command.addOption(option)
  }
  command.option('--json', 'results as JSON on stdout, errors as JSON on stderr')
  command.option('--debug', 'errors with their stack')
  if (spec.examples !== undefined) command.addHelpText('after', `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join('\n')}`)
  command.action(async () => {
    const options = command.opts<Record<string, unknown>>()
    const run = await spec.load()
    const code = await run({ out, json: options['json'] === true, signal: controller.signal }, command.args, options)
    onCode(code ?? EXIT.ok)
  })
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
