// Entry of a worker process: starts executors before it loads the rest, since their start takes as long as all of that.
// Arguments: the number of executors, and the worker's memory limit in bytes (0: none). Without them it starts none.

import { takeCertificatesBack } from '../base/extra-certificates.ts'
import { launchAhead } from './executor/launch.ts'

const [nthreads = 0, memoryLimit = 0] = process.argv.slice(2).map(Number)
takeCertificatesBack()
launchAhead(memoryLimit, nthreads)
await import('./worker-process.ts')
