import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { deferred } from '../base/deferred.ts'
import { spawnAhead, workerCommand, WorkerChild, type WorkerExit } from './child.ts'

const GIB = 2 ** 30

describe('the command of a worker process', () => {
  const flags = (memoryLimit: number, executor: 'process' | 'inline' = 'process'): readonly string[] =>
    workerCommand({ executor, nthreads: 2, memoryLimit }, {}).flags

  it('keeps its young generation small where its memory limit is', () => {
    expect(flags(GIB / 4)).toEqual(['--max-semi-space-size=4'])
    expect(flags(GIB - 1)).toEqual(['--max-semi-space-size=8'])
    expect(flags(2 ** 20)).toEqual(['--max-semi-space-size=1'])
  })

  it('leaves it to the engine with much memory, without a limit, and where the code of users runs in it', () => {
    expect(flags(GIB)).toEqual([])
    expect(flags(0)).toEqual([])
    expect(flags(GIB / 4, 'inline')).toEqual([])
  })
})

const folder = mkdtempSync(join(tmpdir(), 'plimsoll-child-'))
const [script, pids] = [join(folder, 'child.cjs'), join(folder, 'pids')]
writeFileSync(
  script,
  `require('fs').appendFileSync(${JSON.stringify(pids)}, process.pid + ' ')
   process.on('message', () => {})
   process.send({ op: 'started', pid: process.pid })`,
)
const command = { flags: [], script, arguments: ['1'] }
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('takes a process that was started ahead with the same variables, in whatever order they were', async () => {
  spawnAhead({ ...command, env: { FIRST: 'a', SECOND: 'b' } }, 1)
  const started: Promise<unknown>[] = []
  const exits: Promise<WorkerExit>[] = []
  const take = (env: Record<string, string>): WorkerChild => {
    const message = deferred<unknown>()
    const exit = deferred<WorkerExit>()
    started.push(message.promise)
    exits.push(exit.promise)
    const events = {
      onMessage: (said: unknown) => message.resolve(said),
      onExit: (how: WorkerExit) => exit.resolve(how),
    }
    return new WorkerChild({ ...command, env }, events)
  }
  const children = [take({ FIRST: 'a', SECOND: 'c' }), take({ SECOND: 'b', FIRST: 'a' })]
  await Promise.all(started)
  for (const child of children) child.signal('SIGKILL')
  expect((await Promise.all(exits)).map(({ signal }) => signal)).toEqual(['SIGKILL', 'SIGKILL'])
  // The first of them was started then, the second before.
  const all = readFileSync(pids, 'utf8').trim().split(' ').map(Number)
  expect(new Set(all)).toEqual(new Set(children.map(({ pid }) => pid)))
})
