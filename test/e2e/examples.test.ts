// Every program in examples/ runs as a user would run it, and prints what its comments promise.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cli, installPackage, ROOT, Running, type Outcome, type Project } from './installed.ts'

const EXPECTED: Readonly<Record<string, (outcome: Outcome) => void>> = {
  'hello.js': ({ stdout }) => expect(stdout).toBe('285\n'),
  'hello.ts': ({ stdout }) => expect(stdout).toBe("[ '0 times 0', '1 times 1', '2 times 2' ] 9\n"),
  'out-of-core.js': ({ stdout }) =>
    expect(stdout).toMatch(/^sum: 25\d+\nin memory: \S+ [MG]iB on disk: [1-9]\S+ [MG]iB\n$/),
  'errors.js': ({ stdout }) =>
    expect(stdout).toMatch(
      /^RangeError out of range \{ asked: 11, limit: 10 \} \S+\nTASK_CRASHED 3\ntrue\nstill here\n$/,
    ),
  'runaway.ts': ({ stdout }) =>
    expect(stdout).toMatch(
      /^true Task runaway-\S+ \(runaway\) used more memory than it may[^\n]*\n40 other tasks finished in the same worker process: true\nits memory at the highest: \d+\.\d+ MiB of 320\.00 MiB\n$/,
    ),
  'as-completed.js': ({ stdout }) =>
    expect(stdout.trim().split('\n').toSorted()).toEqual([
      'done after 100 ms',
      'done after 20 ms',
      'done after 300 ms',
      'done after 50 ms',
    ]),
  'embedded-store.js': ({ stdout }) =>
    expect(stdout).toMatch(
      /^\[ 100000, 200000, 300000, 400000, 500000 \]\nin the database: 5 blocks of 781\.\d+ KiB\n$/,
    ),
  'where-data-lives.js': ({ stdout }) =>
    expect(stdout).toBe(
      'blocks per worker, spread: 3, 4, 5\ntwo of them everywhere: 4, 5, 7\nsum: 69206016\nblocks were computed 12 times\n',
    ),
  'scatter.js': ({ stdout }) => expect(stdout).toMatch(/^\[ 0, 1, 2, 3, 4 \]\n[0-9a-f]{64}\n$/),
}
/** Modules that the programs use. */
const MODULES = ['digest.js', 'level-container.js']

let project: Project
beforeAll(async () => {
  project = await installPackage()
  for (const name of readdirSync(join(ROOT, 'examples')))
    project.write(name, readFileSync(join(ROOT, 'examples', name), 'utf8'))
})
afterAll(() => project.remove())

it('covers every example', () => {
  expect(readdirSync(join(ROOT, 'examples')).toSorted()).toEqual([...Object.keys(EXPECTED), ...MODULES].toSorted())
})

it.each(Object.keys(EXPECTED))('%s', { timeout: 60_000 }, async (name) => {
  const path = join(project.directory, name)
  const running = name.endsWith('.ts') ? cli(project, ['run', path]) : new Running(project, [path])
  const outcome = await running.ended
  expect(outcome.stderr).toBe('')
  expect(outcome.code).toBe(0)
  EXPECTED[name]?.(outcome)
})

it('the program in the README runs', { timeout: 60_000 }, async () => {
  const program = /```js\n(import \{ Client, range \}[\s\S]*?)```/.exec(
    readFileSync(join(ROOT, 'README.md'), 'utf8'),
  )?.[1]
  const path = project.write('readme.mjs', program as string)
  const outcome = await new Running(project, [path]).ended
  expect([outcome.stderr, outcome.code]).toEqual(['', 0])
  expect(Number(outcome.stdout)).toBeTypeOf('number')
})
