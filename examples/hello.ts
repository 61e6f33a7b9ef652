// The same in TypeScript, for `plimsoll run examples/hello.ts`: types flow from the function to the result.
import { Client, range } from 'plimsoll'

await using client = await Client.local({ nthreads: 2 })

const words = client.map((n: number) => `${n} times ${n}`, range(3))
const lengths = client.map((text: string) => text.length, words)
const total: number = await client.submit((xs: number[]) => Math.max(...xs), lengths).result()
console.log(await client.gather(words), total)
