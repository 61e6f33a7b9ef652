// Programs that use a client, as processes of their own: when they end, and how.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { FakeCluster } from '../client/fake-cluster.ts'

const CLIENT = new URL('../../dist/client/client.js', import.meta.url).href
let directory: string
let cluster: FakeCluster

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'plimsoll-lifetime-'))
})

afterAll(() => rmSync(directory, { recursive: true }))

beforeEach(async () => {
  cluster = await FakeCluster.start(1, 'tcp://127.0.0.1:0')
})

afterEach(() => cluster.close())

interface Ended {
  readonly code: number | null
  readonly stdout: string
}

/** Runs a module that finds `client` connected. */
function run(program: string): Promise<Ended> {
  const file = join(directory, 'program.mjs')
  const options = JSON.stringify({ token: cluster.token, timeout: 5000 })
  writeFileSync(
    file,
    `import { Client } from ${JSON.stringify(CLIENT)}\nconst client = await Client.connect(${JSON.stringify(cluster.address)}, ${options})\n${program}`,
  )
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'ignore'] })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout: stdout.trim() })))
}

describe('a program with an open client', () => {
  it('ends when it has nothing left to do, and what it submitted has left', async () => {
    expect((await run('client.submit((x) => x, 1); process.exitCode = 7')).code).toBe(7)
    expect(cluster.sent('update-graph')).toHaveLength(1)
  })

  it('ends with the exit code of its own failure', async () => {
    expect((await run(`throw new Error('mine')`)).code).toBe(1)
  })

  it('stays as long as it awaits something', async () => {
    cluster.running = false
    const ended = run(`
      const future = client.submit((x) => x, 1)
      setTimeout(() => client.cancel(future), 200).unref()
      console.log(await future.result().catch((error) => error.code))`)
    expect(await ended).toEqual({ code: 0, stdout: 'TASK_CANCELLED' })
  })

  it('gets values, and closes when told to', async () => {
    const ended = await run(
      `console.log(await client.submit((x) => x + 1, 1).result()); await client.close(); console.log('closed')`,
    )
    expect(ended).toEqual({ code: 0, stdout: '2\nclosed' })
    expect(cluster.messages.at(-1)?.op).toBe('close-client')
  })

  it('hears at once when the scheduler dies', async () => {
    cluster.running = false
    const ended = run(`console.log(await client.submit((x) => x, 1).result().catch((error) => error.code))`)
    while (cluster.sent('update-graph').length === 0) await cluster.heard()
    await cluster.close()
    expect(await ended).toEqual({ code: 0, stdout: 'COMM_CLOSED' })
  })
})
