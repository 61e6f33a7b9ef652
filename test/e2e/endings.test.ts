// How programs and their embedded clusters end: in good order, by accident, or by kill -9. Nothing may stay behind: no process,
// no directory in the RAM file system or the temporary directory.

import { afterAll, beforeAll, expect, it } from 'vitest'
import { descendantsOf, eventually, installPackage, isAlive, Running, type Project } from './installed.ts'

let project: Project
beforeAll(async () => {
  project = await installPackage()
})
afterAll(() => project.remove())

const START = `
import { Client } from 'plimsoll'
const client = await Client.local({ nthreads: 1, nWorkers: 1 })
console.log('sum', await client.submit((a, b) => a + b, 1, 2).result())
`
/** One executor in an endless loop, another future stored in a file. */
const BUSY = `${START}
const stored = client.submit(() => new Float64Array(300_000))
await stored.result()
client.submit(() => { for (;;); })
const info = await client.schedulerInfo()
const [worker] = Object.values(info.workers)
console.log('ready', JSON.stringify({ scheduler: info.pid, nanny: worker.nannyPid, worker: worker.pid, executor: worker.executors[0].pid }))
setInterval(() => {}, 1000)
`

async function nothingLeft(pids: readonly number[]): Promise<void> {
  await eventually('every process has ended', () => pids.every((pid) => !isAlive(pid)))
  await eventually('every directory is removed', () => project.scratch().length === 0)
}

it.each([
  ['without closing its client', START, 0, ''],
  ['by throwing', `${START}\nthrow new Error('my mistake')\n`, 1, 'my mistake'],
  ['by process.exit', `${START}\nprocess.exit(5)\n`, 5, ''],
  [
    'by an unhandled rejection',
    `${START}\nvoid Promise.reject(new Error('nobody heard'))\nawait new Promise((r) => setTimeout(r, 5000))\n`,
    1,
    'nobody heard',
  ],
] as const)(
  'a program that ends %s takes its cluster with it and keeps its exit code',
  async (_how, program, exitCode, message) => {
    const running = new Running(project, [project.write('ends.mjs', program)])
    await running.printed(/sum 3/)
    const pids = descendantsOf(running.pid)
    const { code, stderr } = await running.ended
    expect(code).toBe(exitCode)
    expect(stderr).toContain(message)
    if (message === '') expect(stderr).toBe('')
    await nothingLeft(pids)
  },
)

it.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
  'a program ended by %s in the middle of work leaves nothing',
  async (signal) => {
    const running = new Running(project, [project.write('busy.mjs', BUSY)])
    await running.printed(/ready \{.*\}/)
    const pids = descendantsOf(running.pid)
    expect(pids.length).toBeGreaterThanOrEqual(3)
    await running.stop(signal)
    await nothingLeft(pids)
  },
)

it.each(['scheduler', 'worker', 'executor'] as const)(
  'kill -9 of the %s while an executor loops for ever leaves no orphan',
  async (victim) => {
    const running = new Running(project, [project.write('busy.mjs', BUSY)])
    const [line] = await running.printed(/ready \{.*\}/)
    const parts = JSON.parse(line.slice('ready '.length)) as Record<string, number>
    const pids = descendantsOf(running.pid)
    const killed = parts[victim] as number
    process.kill(killed, 'SIGKILL')
    await eventually('the victim has ended', () => !isAlive(killed))
    // A dead scheduler takes everything below it along at once; a worker or executor is replaced, and its old processes are gone.
    const doomed = victim === 'scheduler' ? pids : [killed, parts['executor'] as number]
    await eventually('nothing of it is left', () => doomed.every((pid) => !isAlive(pid)), 2000)
    const later = descendantsOf(running.pid)
    await running.stop('SIGKILL')
    await nothingLeft([...pids, ...later])
  },
)
