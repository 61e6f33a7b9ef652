// The map of trivial tasks, watched from within: processor time of each process, and a CPU profile of each when there is a
// folder for them. Prints microseconds per task by role as its last line.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, range, wait } from 'plimsoll'
import type { SampleRequest } from '../case.ts'
import { withCluster } from '../cluster.ts'
import { warmUp, warmUpRange } from '../warm-up.ts'
import { cpuMs, type Member, members, ROLES } from './members.ts'

const BATCH = 1000
const PROFILE_MS_MAX = 30_000

const increment = (x: number): number => x + 1

const request = JSON.parse(process.argv[2] ?? '') as SampleRequest
const profiles = process.env['PLIMSOLL_BENCH_PROFILES']
const { tasks, repeats } = request.sizes as { tasks: number; repeats: number }

const figures = await withCluster(request, async (client) => {
  await warmUp(request.warmUpMs, (round) => run(client, warmUpRange(round, BATCH)))
  const found = await members(client)
  if (profiles !== undefined) await signal(found, profiles, 'started')
  const before = found.map(({ pid }) => cpuMs(pid))
  const startedAt = performance.now()
  for (let n = 0; n < repeats; n++) await run(client, range(n * tasks, (n + 1) * tasks))
  const elapsedMs = performance.now() - startedAt
  const after = found.map(({ pid }) => cpuMs(pid))
  if (profiles !== undefined) await signal(found, profiles, 'cpuprofile')
  const total = tasks * repeats
  const byRole = ROLES.map((role) => {
    const used = found.reduce(
      (sum, member, n) => sum + (member.role === role ? (after[n] as number) - (before[n] as number) : 0),
      0,
    )
    return [role, (used * 1000) / total]
  })
  return { ...Object.fromEntries(byRole), wall: (elapsedMs * 1000) / total } as Record<string, number>
})
console.log(JSON.stringify(figures))

async function run(client: Client, values: readonly number[]): Promise<void> {
  const futures = client.map(increment, values)
  await wait(futures)
  client.release(futures)
}

/** Tells every process to start or to end its profile, and waits until all have. */
async function signal(found: readonly Member[], folder: string, ending: string): Promise<void> {
  for (const { pid } of found) process.kill(pid, 'SIGUSR2')
  const deadline = performance.now() + PROFILE_MS_MAX
  for (const { role, pid } of found) {
    const file = join(folder, `${role}-${pid}.${ending}`)
    while (!existsSync(file)) {
      if (performance.now() > deadline) throw new Error(`no ${file} within ${PROFILE_MS_MAX} ms`)
      await sleep(10)
    }
  }
}
