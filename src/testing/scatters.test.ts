// Scattered values that do not arrive, as properties.

import { expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { SimCluster } from './sim-cluster.ts'
import { DISK_MOUNT, MEMORY_MOUNT } from './sim-disk.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'
import { World } from './world.ts'

const KB = 1024

function task(key: string, inputs: readonly SimTask[] = []): SimTask {
  return {
    key: taskKey(key),
    name: key,
    inputs: inputs.map((input) => input.key),
    bytes: 2 * KB,
    durationMs: 1,
    random: false,
    trouble: NO_TROUBLE,
    options: {},
  }
}

it('what builds on a value for which no worker has room fails with it, and does not wait for ever', async () => {
  const world = new World({ seed: 1, trace: false })
  const profile = {
    nthreads: 1,
    memoryLimit: 0,
    inlineLimit: KB,
    maxSpill: Infinity,
    resources: {},
    monitorMs: 100,
    validate: true,
  }
  const cluster = new SimCluster(world, {
    workers: [profile, profile],
    machines: 1,
    network: { latencyMs: 0.1, jitterMs: 0.2, bytesPerMs: 10_000, encodes: true },
    disk: { memoryBytes: 100 * KB, diskBytes: 100 * KB, callMs: 0.1, bytesPerMs: 20_000 },
    scheduler: {},
    checkEvery: 1,
  })
  const client = cluster.startClient()
  await world.run(() => cluster.scheduler.state.byLoad.size === 2, 10_000)
  const disk = cluster.disks.get('m0')
  disk?.setFull(MEMORY_MOUNT, true)
  disk?.setFull(DISK_MOUNT, true)
  const scattered = task('scattered')
  const onIt = task('on-it', [scattered])
  for (const each of [scattered, onIt]) cluster.book.add(each)
  client.scatter([scattered], false)
  client.submit([onIt], [onIt.key])
  expect(await world.run(() => client.isSatisfied, 60_000)).toBe(true)
  expect([...client.held.values()].map(({ state }) => state.outcome.status)).toEqual(['error', 'cancelled'])
  await world.run(() => cluster.scheduler.state.tasks.size === 0, world.now + 10_000)
  expect([world.failure, cluster.scheduler.state.tasks.size, cluster.scheduler.state.placements.size]).toEqual([
    null,
    0,
    0,
  ])
  client.dispose()
})
