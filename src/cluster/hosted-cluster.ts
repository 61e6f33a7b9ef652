// The helper process of a LocalCluster: hosts scheduler and nannies, so that a busy program does not stall
// heartbeats, restarts and the watch over memory. It lives for its program alone: when the channel ends, however the
// program ended, workers are killed and directories removed.

import { loadConfig } from '../config/index.ts'
import { configureLogging, configureLoggingFrom } from '../diagnostics/logging.ts'
import { endAhead } from '../nanny/child.ts'
import type { ClusterPlan } from './backend.ts'
import { type HelperToProgram, type ProgramToHelper, toWireFailure } from './helper-messages.ts'
import { NannyCluster } from './nanny-cluster.ts'

/** Whatever hangs: after this the helper is gone, and with its channels all workers, which end by themselves. */
const CLOSE_MS_MAX = 15_000

let cluster: NannyCluster | null = null

function tell(message: HelperToProgram, then: () => void = () => {}): void {
  if (process.connected) process.send?.(message, () => then())
  else then()
}

async function start(plan: ClusterPlan): Promise<void> {
  try {
    configureLoggingFrom(loadConfig({ overrides: plan.config, env: {}, files: [] }))
    const hosted = new NannyCluster(plan, {
      onChange: () => tell({ op: 'workers', workers: hosted.workers }),
      onListening: (address) => tell({ op: 'listening', address }),
    })
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

/** The first message is the entry's. */
function onMessage(message: Exclude<ProgramToHelper, { readonly op: 'start' }>): void {
  switch (message.op) {
    case 'scale':
      return void scale(message.id, message.n)
    case 'adapt':
      return void cluster?.adapt(message.options)
    case 'close':
      return close(message.reason, false)
  }
}

function onProgramGone(): void {
  // That workers die now is no news to anybody.
  configureLogging({ level: 'error' })
  close('the program has ended', true)
}

/** Starts the cluster of the first message, and hears all others. */
export function help(plan: ClusterPlan): void {
  process.on('message', onMessage)
  process.on('disconnect', onProgramGone)
  process.on('SIGTERM', () => close('the helper was asked to end (SIGTERM)', false))
  if (!process.connected) return onProgramGone()
  void start(plan)
}
