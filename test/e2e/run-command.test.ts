// `plimsoll run`: a program behaves as it does under `node`, only that a cluster is there.

import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cli, eventually, installPackage, ROOT, runCli, Running, type Outcome, type Project } from './installed.ts'

let project: Project
beforeAll(async () => {
  project = await installPackage()
})
afterAll(() => project.remove())

const run = async (script: string, ...args: readonly string[]): Promise<Outcome> =>
  await runCli(project, ['run', '--nthreads', '1', script, ...args])

it('passes arguments on as they are, also those that look like options of ours', async () => {
  const script = project.write('arguments.mjs', 'console.log(JSON.stringify(process.argv.slice(2)))\n')
  expect((await run(script, '--address', 'x', '--', '--help')).stdout).toBe('["--address","x","--","--help"]\n')
  expect((await run(script, '--', '--verbose', 'a b')).stdout).toBe('["--verbose","a b"]\n')
})

it('runs TypeScript with modules named as they are after the build, and with paths of tsconfig.json', async () => {
  mkdirSync(join(project.directory, 'lib'))
  project.write('lib/one.ts', 'export enum One { Value = 1 }\n')
  project.write('lib/two.ts', 'export const two = (): number => 2\n')
  project.write('tsconfig.json', '{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*"] } } }\n')
  const script = project.write(
    'modules.ts',
    `import { getClient } from 'plimsoll'
import { One } from './lib/one.js'
import { two } from '@lib/two'
console.log(One.Value + two() + (await getClient().submit((x: number): number => x, 4).result()))
`,
  )
  const { code, stdout, stderr } = await run(script)
  expect([stdout, stderr, code]).toEqual(['7\n', '', 0])
})

it.each([
  ['throws', "console.log('before')\nthrow new RangeError('my own')\n", 1],
  ['rejects', "setTimeout(() => void Promise.reject(new RangeError('my own')), 10)\n", 1],
  ['has an exit code', 'process.exitCode = 3\n', 3],
  ['exits', 'process.exit(4)\n', 4],
  ['waits for what never comes', 'await new Promise(() => {})\n', 13],
] as const)('a program that %s ends as under node', async (_how, text, code) => {
  const script = project.write('ends.mjs', text)
  const alone = await new Running(project, [script]).ended
  const under = await run(script)
  expect([under.code, alone.code]).toEqual([code, code])
  expect(under.stdout).toBe(alone.stdout)
  const withoutOwnFrames = (stderr: string): string =>
    stderr
      .split('\n')
      .filter((line) => !line.includes('node:internal/') && !line.startsWith('Warning: Detected unsettled'))
      .join('\n')
  if (code !== 13) expect(withoutOwnFrames(under.stderr)).toBe(withoutOwnFrames(alone.stderr))
  await eventually('every directory is removed', () => project.scratch().length === 0)
})

it('finds the cluster also when the command is another installation than the program’s', async () => {
  const other = join(project.directory, 'elsewhere')
  mkdirSync(join(other, 'node_modules'), { recursive: true })
  symlinkSync(ROOT, join(other, 'node_modules/plimsoll'))
  project.write(
    'elsewhere/program.mjs',
    `import { getClient, wait } from 'plimsoll'
const future = getClient().submit((x) => x + 1, 1)
await wait([future])
console.log(await future.result())
`,
  )
  const { code, stdout, stderr } = await run(join(other, 'program.mjs'))
  expect([stdout, stderr, code]).toEqual(['2\n', '', 0])
})

it('uses the scheduler at --address, and leaves it running', async () => {
  const scheduler = cli(project, ['scheduler', '--port', '0'])
  const [, address] = (await scheduler.printed(/Scheduler at (\S+)/)) as unknown as [string, string]
  try {
    const script = project.write(
      'remote.mjs',
      "import { getClient } from 'plimsoll'\nconsole.log((await getClient().schedulerInfo()).address)\n",
    )
    const { stdout, stderr } = await runCli(project, ['run', '--address', address, script])
    expect([stdout, stderr]).toEqual([`${address}\n`, ''])
    expect((await runCli(project, ['status', address])).code).toBe(0)
  } finally {
    await scheduler.stop()
  }
})
