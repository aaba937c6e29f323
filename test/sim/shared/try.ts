import { simulateShared } from './simulate.ts'
const [first, count] = process.argv.slice(2).map(Number) as [number, number]
const total = { seeds: 0, commits: 0, looks: 0, deaths: 0, faults: 0, conflicts: 0, unknowns: 0, published: 0, failed: 0 }
const t0 = process.cpuUsage().user
for (let seed = first; seed < first + count; seed++) {
  const r = await simulateShared({ seed })
  total.seeds++
  for (const k of ['commits', 'looks', 'deaths', 'faults', 'conflicts', 'unknowns', 'published'] as const) total[k] += r[k]
  if (r.failures.length > 0) {
    total.failed++
    for (const f of r.failures.slice(0, 4)) console.log(f.slice(0, 1500))
  }
}
console.log(JSON.stringify(total), (process.cpuUsage().user - t0) / 1e6)
