// bench/compare.ts: `npm run bench:check`: the ratios of a fresh run against those of the last kept record. Ratios, never times: the machine may be another one.
//
// Exit code 1 when a ratio fell by more than a fifth, or when nothing was there to compare. Peers are those of the record that this machine has.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { lastKept, type Report, rounded } from './report.ts'

const ALLOWED_LOSS = 0.2

const last = lastKept('engine')
if (last === undefined) {
  console.error('no record of the engine in bench/results: run `npm run bench -- engine --against all --keep` first')
  process.exitCode = 1
} else {
  const peers = [...new Set(last.record.results.flatMap((result) => Object.keys(result.against)))]
  const args = [fileURLToPath(new URL('./run.ts', import.meta.url)), 'engine', '--json', '--against', peers.join(','), ...process.argv.slice(2)]
  const fresh = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })) as Report
  let compared = 0
  let worse = 0
  for (const result of fresh.results) {
    const before = last.record.results.find((each) => each.name === result.name)?.against ?? {}
    for (const [peer, ratio] of Object.entries(result.against)) {
      const was = before[peer]
      if (was === undefined) continue
      compared++
      const lost = ratio < was * (1 - ALLOWED_LOSS)
      if (lost) worse++
      console.log(
        `${lost ? 'WORSE' : 'ok   '} ${result.name.padEnd(12)} vs ${peer.padEnd(8)} ${was}x then, ${ratio}x now (${rounded((ratio / was - 1) * 100)} %)`,
      )
    }
  }
  console.log(`${compared} ratios compared with ${last.file}, ${worse} fell by more than ${ALLOWED_LOSS * 100} %`)
  process.exitCode = worse > 0 || compared === 0 ? 1 : 0
}
