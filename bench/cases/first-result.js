// A program as a user writes it, without a loader: prints what its import, its start and all of it took, in milliseconds.
// `performance.now()` is 0 when the process starts.

const importedAt = performance.now()
const { Client } = await import('plimsoll')
const startedAt = performance.now()
const client = await Client.local({ nWorkers: 2, nthreads: 1, dashboardAddress: null, localDirectory: process.argv[2] })
const result = await client.submit((x) => x + 1, 1).result()
const doneAt = performance.now()
await client.close()
if (result !== 2) throw new Error(`the result is ${result}, it should be 2`)
console.log(JSON.stringify({ importMs: startedAt - importedAt, startMs: doneAt - startedAt, wholeMs: doneAt }))
