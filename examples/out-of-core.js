// More data than the worker may keep: 24 blocks of 16 MiB on a worker with a limit of 256 MiB. They spill, and are read back.
import { Client, formatBytes, range } from 'plimsoll'

const client = await Client.local({ nthreads: 1, memoryLimit: '256 MiB' })

const blocks = client.map((seed) => {
  const block = new Float64Array(2 * 1024 * 1024)
  for (let i = 0; i < block.length; i++) block[i] = (seed * 31 + i) % 1000
  return block
}, range(24))
const sums = client.map((block) => block.reduce((a, x) => a + x, 0), blocks)
const total = client.submit((xs) => xs.reduce((a, b) => a + b, 0), sums)

console.log('sum:', await total.result())
const { cluster } = await client.memory()
console.log('in memory:', formatBytes(cluster.managed), 'on disk:', formatBytes(cluster.spilled))

await client.close()
