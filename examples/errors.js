// What fails, fails as what it is: your own errors, a crash, a time-out. The worker and everything it stores live on.
import { Client, isErrorCode, task } from 'plimsoll'

const client = await Client.local({ nthreads: 2 })

const throws = client.submit(() => {
  throw new RangeError('out of range', { cause: { asked: 11, limit: 10 } })
})
const error = await throws.exception()
console.log(error.name, error.message, error.cause, error.plimsoll.key)

const crashes = client.submit(task(() => process.exit(3), { pure: false }))
await crashes.result().catch((failure) => console.log(failure.code, failure.fields.exitCode))

const tooLong = client.submit(
  task(
    () => {
      for (;;);
    },
    { timeout: '500ms' },
  ),
)
await tooLong.result().catch((failure) => console.log(isErrorCode(failure, 'TASK_TIMEOUT')))

console.log(await client.submit(() => 'still here').result())
await client.close()
