// Values that do not arrive or are damaged, as properties.

import { expect, it } from 'vitest'
import { taskKey } from '../base/ids.ts'
import { SimCluster } from './sim-cluster.ts'
import { DISK_MOUNT, MEMORY_MOUNT, type SimDisk } from './sim-disk.ts'
import type { SimClient } from './sim-client.ts'
import { NO_TROUBLE, type SimTask } from './task-book.ts'
import { World } from './world.ts'

const KB = 1024

function task(key: string, inputs: readonly SimTask[] = [], options: SimTask['options'] = {}): SimTask {
  return {
    key: taskKey(key),
    name: key,
    inputs: inputs.map((input) => input.key),
    bytes: 9 * KB,
    durationMs: 1,
    random: false,
    trouble: NO_TROUBLE,
    options,
  }
}

/** Two workers of one machine, and a client. */
async function started(): Promise<{ world: World; cluster: SimCluster; client: SimClient; disk: SimDisk }> {
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
  return { world, cluster, client, disk: cluster.disks.get('m0') as SimDisk }
}

it('what builds on a value for which no worker has room fails with it, and does not wait for ever', async () => {
  const { world, cluster, client, disk } = await started()
  disk.setFull(MEMORY_MOUNT, true)
  disk.setFull(DISK_MOUNT, true)
  const scattered = task('scattered')
  const onIt = task('on-it', [scattered])
  for (const each of [scattered, onIt]) cluster.book.add(each)
  client.scatter([scattered], false)
  client.submit([onIt], [onIt.key])
  expect(await world.run(() => client.isSatisfied, 60_000)).toBe(true)
  expect([...client.held.values()].map(({ state }) => state.outcome.status)).toEqual(['error', 'cancelled'])
  const { tasks, placements } = cluster.scheduler.state
  await world.run(() => tasks.size === 0, world.now + 10_000)
  expect([world.failure, tasks.size, placements.size]).toEqual([null, 0, 0])
  client.dispose()
})

it('a value whose only file is damaged is computed again, also for a worker that shares the file', async () => {
  const { world, cluster, client, disk } = await started()
  // A client that reads it would find out.
  client.calmDown()
  disk.setFull(MEMORY_MOUNT, true)
  const value = task('value', [], { workers: ['w0'] })
  const onIt = task('on-it', [value], { workers: ['w1'] })
  for (const each of [value, onIt]) cluster.book.add(each)
  client.submit([value], [value.key], { reads: false })
  await world.run(() => cluster.scheduler.state.tasks.get(value.key)?.state === 'memory', 10_000)
  const [path] = disk.files.paths(DISK_MOUNT).filter((each) => each.includes('/blobs/'))
  const bytes = disk.files.contents(path as string)
  bytes[bytes.length - 10] = (bytes[bytes.length - 10] as number) ^ 1
  client.submit([onIt], [onIt.key])
  expect(await world.run(() => client.held.get(onIt.key)?.value !== null, 10_000)).toBe(true)
  expect(world.failure).toBeNull()
  client.dispose()
})
