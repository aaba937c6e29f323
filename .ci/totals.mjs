// .ci/totals.mjs: adds up what .ci/run ran and prints the totals as the last line; exit code 1 when anything failed.
//
//   node .ci/totals.mjs <folder of reports> <status of check> <status of tests> <status of bench | skipped>
//
// Invariant: a step that ended badly counts at least one failure, whatever its report says, and a missing report is a failure: silence never passes.
import { join } from 'node:path'

import { read } from './sources.mjs'

const [folder, ...statuses] = process.argv.slice(2)
const [checkStatus, testStatus, benchStatus] = statuses
const total = { passed: 0, failed: 0, skipped: 0 }

count('check', checkStatus, checkCounts())
count('tests', testStatus, testCounts())
if (benchStatus !== 'skipped') count('bench', benchStatus, { passed: benchStatus === '0' ? 1 : 0, failed: 0, skipped: 0 })
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exitCode = total.failed > 0 ? 1 : 0

function count(name, status, counts) {
  const found = counts ?? { passed: 0, failed: 1, skipped: 0 }
  const failed = status !== '0' && found.failed === 0 ? 1 : found.failed
  console.log(
    `${name}: ${found.passed} passed, ${failed} failed${found.skipped > 0 ? `, ${found.skipped} skipped` : ''}${counts === undefined ? ' (no report)' : ''}`,
  )
  total.passed += found.passed
  total.failed += failed
  total.skipped += found.skipped
}

function checkCounts() {
  const report = readJson('check.json')
  if (report === undefined) return undefined
  return { passed: report.steps.length - report.failed.length, failed: report.failed.length, skipped: 0 }
}

/** Files that could not be loaded have no tests of their own: each counts as one failure. */
function testCounts() {
  const report = readJson('tests.json')
  if (report === undefined || report.numTotalTests === 0) return undefined
  const unloaded = report.testResults.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'))
  for (const file of report.testResults) {
    for (const test of file.assertionResults) if (test.status === 'failed') console.log(`failed: ${test.fullName}`)
  }
  for (const file of unloaded) console.log(`failed: ${file.name}`)
  return { passed: report.numPassedTests, failed: report.numFailedTests + unloaded.length, skipped: report.numPendingTests + report.numTodoTests }
}

function readJson(name) {
  try {
    return JSON.parse(read(join(folder, name)))
  } catch {
    return undefined
  }
}
