// vitest.config.ts: two projects, run one after the other. `unit` is everything that runs inside one process; `processes` starts others (packed installs, killed
// writers, two processes on one lock), so it has longer limits and the machine to itself.
import { defineConfig } from 'vitest/config'

const PROCESSES = ['test/e2e/**/*.test.ts', 'test/crash/**/*.test.ts', 'test/cli/**/*.test.ts']

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: PROCESSES,
          testTimeout: 240_000,
          hookTimeout: 60_000,
          pool: 'forks',
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'processes',
          include: PROCESSES,
          testTimeout: 240_000,
          hookTimeout: 240_000,
          pool: 'forks',
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
