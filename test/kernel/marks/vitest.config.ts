// test/kernel/marks/vitest.config.ts: the kernel tests against the marked module (`npm run coverage:kernels`).
import { defineConfig, type ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['test/kernel/**/*.test.ts', 'test/unit/kernels/**/*.test.ts'],
    setupFiles: ['test/setup.ts', 'test/kernel/marks/marked-module.ts'],
    // That is of the shipped module; this one imports its marks.
    testNamePattern: /^(?!.*imports nothing)/,
    // Unoptimised code with a store at every branch.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: 'forks',
  },
})

export default config
