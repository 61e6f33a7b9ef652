import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { killFamily, killKnown, killMarked } from './process-family.ts'
import { type KnownProcess, descendants, knownProcess } from './process-tree.ts'

// Each prints its pid and starts the next one in a session of its own.
const CHAIN = `
const { spawn } = require('node:child_process')
const depth = Number(process.argv[1])
console.log(process.pid)
if (depth > 0) spawn(process.execPath, ['-e', process.env.CHAIN, depth - 1], { detached: true, stdio: ['ignore', 'inherit', 'ignore'] })
setInterval(() => {}, 1000)
`

const started: number[] = []
afterEach(() => {
  for (const pid of started.splice(0)) if (runs(pid)) process.kill(pid, 'SIGKILL')
})

function runs(pid: number): boolean {
  const known = knownProcess(pid)
  return known !== null && known.state !== 'Z'
}

async function chain(env: NodeJS.ProcessEnv = process.env): Promise<{ child: ChildProcess; pids: number[] }> {
  const child = spawn(process.execPath, ['-e', CHAIN, '2'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...env, CHAIN },
  })
  const pids: number[] = []
  for await (const line of createInterface({ input: child.stdout as Readable })) {
    pids.push(Number(line))
    if (pids.length === 3) break
  }
  started.push(...pids)
  return { child, pids }
}

async function ended(pids: readonly number[]): Promise<void> {
  const deadline = performance.now() + 5000
  while (pids.some(runs)) {
    if (performance.now() > deadline) throw new Error(`still there: ${pids.filter(runs).join(', ')}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

describe.skipIf(process.platform !== 'linux')('the family of a process', () => {
  it('is killed with it, in whatever sessions its members are', async () => {
    const { child, pids } = await chain()
    expect(descendants(child.pid as number)).toEqual(pids.slice(1))
    killFamily(child.pid as number)
    await ended(pids)
  })

  it('is found by its mark when its head is dead', async () => {
    const mark = `a-mark-of-${process.pid};`
    const { child, pids } = await chain({ ...process.env, ANYTHING: `another;${mark}` })
    child.kill('SIGKILL')
    await once(child, 'exit')
    process.kill(pids[1] as number, 'SIGKILL')
    expect(await killMarked([`no-mark-of-${process.pid};`])).toEqual([])
    expect(runs(pids[2] as number)).toBe(true)
    expect(await killMarked(['not-this-one;', mark])).toEqual([])
    expect(pids.filter(runs)).toEqual([])
  })

  it('does not include somebody who has got the number of a remembered process since', async () => {
    const { child, pids } = await chain()
    const known = pids.map(knownProcess) as KnownProcess[]
    killKnown(known.map(({ pid, state }) => ({ pid, state, started: '1' })))
    expect(pids.every(runs)).toBe(true)
    killKnown(known.slice(2))
    await ended(pids.slice(2))
    expect(runs(child.pid as number)).toBe(true)
    killKnown(known)
    await ended(pids)
  })
})
