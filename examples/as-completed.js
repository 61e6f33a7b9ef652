// Results in the order in which they are ready, and new work while they come in.
import { asCompleted, Client, task } from 'plimsoll'

const client = await Client.local({ nthreads: 2 })

const roll = task(
  async (ms) => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    return ms
  },
  { pure: false },
)

const futures = client.map(roll, [300, 20, 100])
const arriving = asCompleted(futures, { withResults: true })
let extra = false
for await (const [, ms] of arriving) {
  console.log('done after', ms, 'ms')
  if (!extra) arriving.add(client.submit(roll, 50))
  extra = true
}

await client.close()
