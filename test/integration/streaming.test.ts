// A client that goes through more than it could hold: one value at a time. In a process of its own, whose memory is measured.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const INDEX = new URL('../../dist/index.js', import.meta.url).href
let directory: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'plimsoll-streaming-'))
})

afterAll(() => rmSync(directory, { recursive: true }))

/** Peak of what the process holds beyond its start, MiB, over 40 values of 16 MiB. */
async function peak(name: string, loop: string): Promise<{ peakMiB: number; checksum: number }> {
  const file = join(directory, `${name}.mjs`)
  writeFileSync(
    file,
    `import { asCompleted, Client, LocalCluster, task } from ${JSON.stringify(INDEX)}
    const cluster = new LocalCluster({ nWorkers: 1, nthreads: 1, memoryLimit: '256 MiB', dashboardAddress: null })
    const client = await Client.connect(cluster)
    const { rss } = process.memoryUsage
    const start = rss()
    let most = start
    const sample = setInterval(() => (most = Math.max(most, rss())), 5)
    let checksum = 0
    const futures = client.map((n) => new Uint8Array(16 * 2 ** 20).fill(n), Array.from({ length: 40 }, (_, n) => n))
    ${loop}
    clearInterval(sample)
    console.log(JSON.stringify({ peakMiB: (most - start) / 2 ** 20, checksum }))
    await client.close()
    await cluster.close()`,
  )
  const env = { ...process.env, NODE_OPTIONS: '' }
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env, timeout: 100_000 })
  return JSON.parse(stdout) as { peakMiB: number; checksum: number }
}

describe('streaming', () => {
  it('with for await holds about one value at a time, of 640 MiB', { timeout: 120_000 }, async () => {
    const { peakMiB, checksum } = await peak(
      'stream',
      `for await (const [future, value] of asCompleted(futures, { withResults: true })) {
        checksum += value[7]
        future.release()
        most = Math.max(most, rss())
      }`,
    )
    expect(checksum).toBe((40 * 39) / 2)
    expect(peakMiB).toBeLessThan(160)
  })
})
