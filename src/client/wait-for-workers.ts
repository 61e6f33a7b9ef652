import { setTimeout as sleep } from 'node:timers/promises'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { refuseUnknown } from '../errors/unknown-option.ts'
import type { SchedulerInfo } from '../protocol/scheduler-client.ts'
import { durationMs } from './wait-limits.ts'

const POLL_MS = { first: 10, most: 250 } as const
/** Timers may end so much too early. */
const TIMER_MS = 2

/** Asks until at least `n` workers are running; `info` is told how long to wait for its answer, if that is known. */
export async function waitForWorkers(
  info: (patience: { readonly timeoutMs?: number }) => Promise<SchedulerInfo>,
  n: number,
  options: { readonly timeout?: number | string },
): Promise<void> {
  refuseUnknown('waitForWorkers', options, ['timeout'])
  if (!(Number.isInteger(n) && n >= 1))
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `The number of workers to wait for is a whole number from 1; it was ${n}.`,
      { n },
    )
  const timeoutMs = options.timeout === undefined ? Infinity : durationMs(options.timeout)
  const startMs = performance.now()
  const leftMs = (): number => timeoutMs - (performance.now() - startMs)
  let running: number | null = null
  for (let pauseMs: number = POLL_MS.first; ; pauseMs = Math.min(POLL_MS.most, 2 * pauseMs)) {
    try {
      const { workers } = await info(timeoutMs === Infinity ? {} : { timeoutMs: Math.max(1, Math.ceil(leftMs())) })
      running = Object.values(workers).filter((worker) => worker.status === 'running').length
    } catch (error) {
      // The last question may be cut off by the end of the wait; where there was no answer at all, that is the trouble.
      if (running === null || leftMs() > TIMER_MS) throw error
    }
    if (running >= n) return
    if (leftMs() <= TIMER_MS)
      throw new PlimsollError('TIMEOUT', `Only ${running} of ${n} workers were running after ${timeoutMs} ms.`, {
        running,
        n,
        timeoutMs,
      })
    await sleep(Math.min(pauseMs, leftMs()))
  }
}
