// Copies, moves, and workers that leave: what is on which worker, and that nothing is computed twice.
import { Client, LocalCluster, range, task } from 'plimsoll'

const cluster = new LocalCluster({
  nWorkers: 3,
  nthreads: 1,
  memoryLimit: '256 MiB',
  config: { 'scheduler.active-memory-manager.start': false },
})
const client = await Client.connect(cluster)
const [first] = cluster.workers

// Twelve blocks on one worker, of 8 MiB each.
const block = (n) => new Float64Array(2 ** 20).fill(n)
const blocks = client.map(task(block, { workers: [first.address] }), range(12))

async function show(what) {
  const counts = Object.values(await client.hasWhat()).map((keys) => keys.length)
  console.log(`${what}: ${counts.toSorted((a, b) => a - b).join(', ')}`)
}

await client.rebalance(blocks, { measure: 'managed' })
await show('blocks per worker, spread')

await client.replicate(blocks.slice(0, 2))
await show('two of them everywhere')

await client.amm.runOnce()
await cluster.scale(1)
const sums = client.map((values) => values[0] * values.length, blocks)
console.log(
  'sum:',
  (await client.gather(sums)).reduce((a, b) => a + b, 0),
)
console.log('blocks were computed', (await client.taskCounts()).block.runs, 'times')

await client.close()
await cluster.close()
