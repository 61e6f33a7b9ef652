// Data from the client, sent once and used by many tasks; functions from a module, with its imports.
import { Client, fromModule, range } from 'plimsoll'

const client = await Client.local({ nthreads: 2 })

const table = client.scatter(new Map(range(1000).map((n) => [n, Math.sqrt(n)])))
const digest = fromModule(new URL('./digest.js', import.meta.url), 'digest')

const roots = client.map(
  (t, n) => t.get(n),
  range(5).map(() => table),
  [0, 1, 4, 9, 16],
)
console.log(await client.gather(roots))
console.log(await client.submit(digest, table).result())

await client.close()
