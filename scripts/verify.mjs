// Everything that has to hold before a change lands, one step after the other; the first failure ends it.
// `--skip-tests` leaves the test step out (for a caller that has just run it).

import { spawnSync } from 'node:child_process'

/** @type {[name: string, command: string, args: string[]][]} */
const STEPS = [
  ['format', 'oxfmt', ['--check', 'src', 'test', 'examples', 'bench', 'scripts']],
  ['lint', 'oxlint', ['--type-aware', '--deny-warnings', 'src', 'test', 'examples', 'bench', 'scripts']],
  ['types', 'tsc', ['-p', 'tsconfig.json']],
  ['unit, integration and end-to-end tests', 'vitest', ['run']],
  ['deliberate faults that seeds and recorded plans have to find', 'tsx', ['scripts/sabotage.mjs']],
  ['package', 'publint', ['--strict']],
]

const steps = process.argv.includes('--skip-tests') ? STEPS.filter(([, command]) => command !== 'vitest') : STEPS
for (const [name, command, args] of steps) {
  const startedAt = performance.now()
  process.stdout.write(`== ${name}\n`)
  const { status, error } = spawnSync(`node_modules/.bin/${command}`, args, { stdio: 'inherit' })
  if (status !== 0) {
    process.stdout.write(`verify: ${name} failed${error === undefined ? '' : ` (${error.message})`}\n`)
    process.exit(1)
  }
  process.stdout.write(`== ${name} done in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`)
}
process.stdout.write('verify: everything passed\n')
