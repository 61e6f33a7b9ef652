// The smallest program: an embedded cluster, a map, a sum.
import { Client, range } from 'plimsoll'

const client = await Client.local({ nthreads: 2 })

const squares = client.map((x) => x * x, range(10))
const total = client.submit((xs) => xs.reduce((a, b) => a + b, 0), squares)
console.log(await total.result()) // 285

await client.close()
