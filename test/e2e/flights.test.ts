import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  cli,
  commandOf,
  descendantsOf,
  eventually,
  installPackage,
  isAlive,
  runCli,
  type Project,
} from './installed.ts'

let project: Project
beforeAll(async () => {
  project = await installPackage()
})
afterAll(() => project.remove())

it(
  'computes the right answers on workers that cannot hold the data, and leaves nothing behind',
  { timeout: 180_000 },
  async () => {
    const { code, stdout, stderr } = await runCli(project, ['demo', 'flights'])
    expect([code, stderr]).toEqual([0, ''])
    for (const stage of [1, 2, 3, 4, 5, 6, 7]) expect(stdout).toMatch(new RegExp(`^${stage}\\. .* in `, 'm'))
    const ratio = /kept, ([\d.]+) times the workers’ memory target/.exec(stdout)?.[1]
    expect(Number(ratio)).toBeGreaterThanOrEqual(4)
    expect(stdout).toContain('all answers agree')
    expect(stdout).toMatch(/Features \(3000000 flights/)
    const report = stdout.slice(stdout.indexOf('peak process memory')).split('\n').slice(2, 4)
    for (const row of report) {
      const [, limit, peak, , spilled, restarts] = row.trim().split(/ {2,}/)
      expect(Number.parseFloat(peak as string)).toBeLessThanOrEqual(Number.parseFloat(limit as string))
      expect(Number.parseFloat(spilled as string)).toBeGreaterThan(0)
      expect(restarts).toBe('0')
    }
    await eventually('every directory is removed', () => project.scratch().length === 0)
  },
)

it('ends at once on Ctrl-C, with exit code 130, and leaves nothing behind', { timeout: 60_000 }, async () => {
  const demo = cli(project, ['demo', 'flights'])
  await demo.printed(/^1\. read the records/m, 40_000)
  const pids = descendantsOf(demo.pid)
  expect(pids.length).toBeGreaterThanOrEqual(5)
  // A terminal sends Ctrl-C to the whole foreground group; only the program itself may act on it.
  for (const pid of [...pids, demo.pid]) process.kill(pid, 'SIGINT')
  const { code, stderr } = await demo.ended
  expect([code, stderr]).toEqual([130, ''])
  await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
  await eventually('every directory is removed', () => project.scratch().length === 0)
})

it('survives kill -9 of a worker, and stays up with --keep until it is told to end', { timeout: 180_000 }, async () => {
  const demo = cli(project, ['demo', 'flights', '--keep'])
  await demo.printed(/^1\. read the records/m, 60_000)
  const [victim] = descendantsOf(demo.pid).filter((pid) => commandOf(pid).startsWith('plimsoll worker'))
  process.kill(victim as number, 'SIGKILL')
  const [, token, address] = await demo.printed(/PLIMSOLL_TOKEN=(\S+) \S.* status (\S+) --watch/, 170_000)
  expect(demo.stdout).toContain('all answers agree')
  const status = await runCli(project, ['status', address as string, '--json'], { PLIMSOLL_TOKEN: token as string })
  const { workers } = JSON.parse(status.stdout) as { workers: Record<string, { restarts: number }> }
  expect(Object.values(workers).reduce((sum, { restarts }) => sum + restarts, 0)).toBe(1)
  expect((await demo.stop('SIGINT')).code).toBe(0)
  await eventually('every directory is removed', () => project.scratch().length === 0)
})
