// One task takes all the memory it can get while others work: it fails with a report, and nobody else notices.
import { Client, formatBytes, isErrorCode, range } from 'plimsoll'

await using client = await Client.local({ nthreads: 2, memoryLimit: '320 MiB', config: { 'logging.level': 'error' } })
const [before] = Object.values((await client.schedulerInfo()).workers)

const work = client.map((n: number) => {
  let sum = 0
  for (let i = 0; i < 1e7; i++) sum += (n * i) % 7
  return sum
}, range(40))

const runaway = client.submit(function runaway(): never {
  const all: Buffer[] = []
  for (;;) all.push(Buffer.alloc(2 ** 20, all.length))
})

const error = await runaway.exception()
console.log(isErrorCode(error, 'TASK_OUT_OF_MEMORY'), error?.message)

const sums = await client.gather(work)
const [after] = Object.values((await client.schedulerInfo()).workers)
console.log(`${sums.length} other tasks finished in the same worker process: ${after?.pid === before?.pid}`)
console.log(
  `its memory at the highest: ${formatBytes(after?.processPeak ?? 0)} of ${formatBytes(after?.memoryLimit ?? 0)}`,
)
