import { defineConfig } from 'vitest/config'

// Tests of pure modules sit beside the source and run on it. Anything that spawns processes runs on `dist`, because
// child processes cannot load sources through the test transformer; those tests live in test/integration and test/e2e.
export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default'],
  },
})
