import { defineConfig } from 'vitest/config'

// Tests of pure modules sit beside the source and run on it. Anything that spawns processes runs on `dist`, because
// child processes cannot load sources through the test transformer; those tests live in test/integration and test/e2e, and
// dist is brought up to date before they run.
export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'sources', include: ['src/**/*.test.ts', 'test/*.test.ts'] } },
      { extends: true, test: { name: 'dist', include: ['test/*/**/*.test.ts'], globalSetup: ['test/fresh-dist.ts'] } },
    ],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: ['default'],
  },
})
