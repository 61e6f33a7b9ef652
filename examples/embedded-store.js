// A cluster whose workers keep their values in an embedded database, here LevelDB, instead of memory and files.
// npm install classic-level

import { Client, formatBytes, fromModule, LocalCluster } from 'plimsoll'

const openLevel = fromModule(new URL('./level-container.js', import.meta.url), 'openLevel')
const cluster = new LocalCluster({ nthreads: 2, memoryLimit: '1 GiB', data: [openLevel, { cacheSize: 4 * 2 ** 20 }] })
const client = await Client.connect(cluster)

const blocks = client.map((seed) => new Float64Array(100_000).fill(seed), [1, 2, 3, 4, 5])
const sums = client.map((block) => block.reduce((a, x) => a + x, 0), blocks)
console.log(await client.gather(sums))

const sizes = await client.nbytes(blocks)
console.log('in the database:', Object.values(sizes).length, 'blocks of', formatBytes(sizes[blocks[0].key]))

await client.close()
await cluster.close()
