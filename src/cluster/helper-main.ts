// Entry of the helper process of a LocalCluster: hosts scheduler and nannies, so that a busy program does not stall
// heartbeats, restarts and the watch over memory. It lives for its program alone: when the channel ends, however the
// program ended, workers are killed and directories removed.
//
// Worker processes start before scheduler and nannies are loaded: they take longer than those.

import { takeCertificatesBack } from '../base/extra-certificates.ts'
import { configureLogging, configureLoggingFrom } from '../diagnostics/logging.ts'
import { loadConfig } from '../config/index.ts'
import { endAhead, spawnAhead, workerCommand } from '../nanny/child.ts'
import { workerEnvironment } from '../nanny/env.ts'
import type { ClusterPlan } from './backend.ts'
import { type HelperToProgram, type ProgramToHelper, toWireFailure } from './helper-messages.ts'
import type { NannyCluster } from './nanny-cluster.ts'

/** Whatever hangs: after this the helper is gone, and with its channels all workers, which end by themselves. */
const CLOSE_MS_MAX = 15_000

let cluster: NannyCluster | null = null
takeCertificatesBack()

function tell(message: HelperToProgram, then: () => void = () => {}): void {
  if (process.connected) process.send?.(message, () => then())
  else then()
}

async function start(plan: ClusterPlan): Promise<void> {
  try {
    const config = loadConfig({ overrides: plan.config, env: {}, files: [] })
    const { env, nWorkers, nthreads, memoryLimit, data } = plan
    spawnAhead(
      workerCommand({ executor: 'process', nthreads, memoryLimit, data }, workerEnvironment(config, { env })),
      nWorkers,
    )
    configureLoggingFrom(config)
    const { NannyCluster } = await import('./nanny-cluster.ts')
    const hosted = new NannyCluster(plan, () => tell({ op: 'workers', workers: hosted.workers }))
    cluster = hosted
    void hosted.closed.then((reason) => tell({ op: 'closed', reason }, () => process.exit(0)))
    const scheduler = await hosted.start()
    tell({ op: 'workers', workers: hosted.workers })
    tell({ op: 'started', scheduler })
  } catch (error) {
    // A cluster that did not start has closed itself; one that was not even made ends here.
    tell({ op: 'start-failed', error: toWireFailure(error) }, () => cluster ?? process.exit(1))
  } finally {
    endAhead()
  }
}

async function scale(id: number, n: number): Promise<void> {
  try {
    await cluster?.scale(n)
    tell({ op: 'scaled', id, error: null })
  } catch (error) {
    tell({ op: 'scaled', id, error: toWireFailure(error) })
  }
}

function close(reason: string, force: boolean): void {
  setTimeout(() => process.exit(1), CLOSE_MS_MAX).unref()
  if (cluster === null) process.exit(0)
  void cluster.close(reason, { force })
}

process.on('message', (message: ProgramToHelper) => {
  switch (message.op) {
    case 'start':
      return void start(message.plan)
    case 'scale':
      return void scale(message.id, message.n)
    case 'adapt':
      return void cluster?.adapt(message.options)
    case 'close':
      return close(message.reason, false)
  }
})
process.on('disconnect', () => {
  // That workers die now is no news to anybody.
  configureLogging({ level: 'error' })
  close('the program has ended', true)
})
process.on('SIGTERM', () => close('the helper was asked to end (SIGTERM)', false))
// Ctrl-C and a closed terminal reach every process of the group; the program decides what they mean.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
// The program may be gone before this line is: then there was no event to hear.
if (!process.connected) process.exit(0)
