// Entry of the helper process of a LocalCluster (hosted-cluster.ts): starts worker processes before it loads the rest, since they take
// longer than all of that.

import { takeCertificatesBack } from '../base/extra-certificates.ts'
import { spawnAhead } from '../nanny/child.ts'
import type { ProgramToHelper } from './helper-messages.ts'

takeCertificatesBack()
// Later messages wait in the channel until somebody listens again.
process.once('message', (message: ProgramToHelper) => {
  if (message.op !== 'start') process.exit(0)
  const { plan, worker } = message
  try {
    spawnAhead(worker, plan.nWorkers)
  } catch {
    // The nanny that asks for one will be told why it cannot be started.
  }
  void import('./hosted-cluster.ts').then(({ help }) => help(plan))
})
// Ctrl-C and a closed terminal reach every process of the group; the program decides what they mean.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
// The program may be gone before this line is: then there is no event to hear.
if (!process.connected) process.exit(0)
