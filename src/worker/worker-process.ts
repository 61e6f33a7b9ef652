// A worker process under a nanny. It starts when the nanny has sent its options over the IPC channel, and ends in
// one of four ways:
//
// - closed by its nanny, its scheduler or SIGTERM: everything is cleaned up, exit code 0;
// - its state machine failed, or an exception was not caught: exit code 1, the nanny starts another, blobs are adopted;
// - it could not start: `start-failed`, exit code 1;
// - its nanny died: executors are ended and the directories removed, since nobody else will; exit code 1.

import { partLogger } from '../base/part-logger.ts'
import { loadConfig } from '../config/index.ts'
import { configureLoggingFrom } from '../diagnostics/logging.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { NannyToWorker, WorkerStartOptions, WorkerToNanny } from '../protocol/nanny.ts'
import { removeAbandoned } from '../store/directories.ts'
import { EXECUTORS_MARK } from './executor/launch.ts'
import { Worker } from './worker.ts'

/** An end in good order takes at most this long; the nanny kills what is left. */
const CLOSE_MS = 15_000

const log = partLogger('worker')

class WorkerProcess {
  #worker: Worker | null = null
  #options: WorkerStartOptions | null = null
  #ending = false

  run(): void {
    process.title = 'plimsoll worker'
    process.on('message', (message) => this.#onMessage(message as NannyToWorker))
    process.on('disconnect', () => void this.#onNannyDied())
    // Ctrl-C reaches the whole terminal group: the nanny orders the end.
    process.on('SIGINT', () => {})
    process.on('SIGTERM', () => void this.#close('SIGTERM'))
    process.on('uncaughtException', (error) => this.#die(error))
    process.on('unhandledRejection', (reason) => this.#die(toError(reason)))
    // The nanny may have died before this was loaded: then there was no event to hear.
    if (!process.connected) process.exit(1)
  }

  #onMessage(message: NannyToWorker): void {
    if (message.op === 'start') void this.#start(message.options)
    else void this.#close(message.reason)
  }

  async #start(options: WorkerStartOptions): Promise<void> {
    if (this.#options !== null) return
    this.#options = options
    process.title = `plimsoll worker ${options.name}`
    try {
      configureLoggingFrom(loadConfig({ overrides: options.config, env: {}, files: [] }))
      const worker = new Worker(options, {
        onExecutors: (pids) => this.#tell({ op: 'executors', pids, mark: EXECUTORS_MARK }),
        onPeaks: (processPeak, spilledTotal) => this.#tell({ op: 'peaks', processPeak, spilledTotal }),
      })
      this.#worker = worker
      await worker.start()
      this.#tell({ op: 'started', address: worker.address, pid: process.pid })
      void worker.closed.then(({ reason, restart }) => this.#onClosed(reason, restart))
    } catch (thrown) {
      if (this.#ending) return
      const error = toError(thrown)
      const code = error instanceof PlimsollError ? error.code : 'WORKER_START_FAILED'
      this.#tell({ op: 'start-failed', message: error.message, code })
      this.#exit(1)
    }
  }

  /** By its own will or the scheduler's: the nanny must not start another. */
  #onClosed(reason: string, restart: boolean): void {
    if (this.#ending) return
    if (!restart) this.#tell({ op: 'closing', reason })
    this.#exit(restart ? 1 : 0)
  }

  async #close(reason: string): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    setTimeout(() => process.exit(1), CLOSE_MS).unref()
    await this.#worker?.close(reason)
    this.#exit(0)
  }

  async #onNannyDied(): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    setTimeout(() => process.exit(1), CLOSE_MS).unref()
    await this.#worker?.close('its nanny died')
    const { localDirectory, memoryDirectory } = this.#options ?? { localDirectory: null, memoryDirectory: null }
    for (const directory of [localDirectory, memoryDirectory]) {
      if (directory !== null) await removeAbandoned(directory)
    }
    process.exit(1)
  }

  /** The state of the process is unknown: nothing is cleaned up, the nanny ends the executors and starts another. */
  #die(error: Error): void {
    log.fatal('the worker process failed: {error}', { error: error.stack ?? error.message })
    this.#exit(1)
  }

  #tell(message: WorkerToNanny): void {
    if (process.connected) process.send?.(message)
  }

  /** What was told to the nanny is on its way before the process ends. */
  #exit(code: number): void {
    this.#ending = true
    if (process.connected) {
      process.send?.({ op: 'peaks', ...this.#peaks() } satisfies WorkerToNanny, () => process.exit(code))
      setTimeout(() => process.exit(code), 1000).unref()
    } else {
      process.exit(code)
    }
  }

  #peaks(): { processPeak: number; spilledTotal: number } {
    const { processPeak = 0, spilledTotal = 0 } = this.#options ?? {}
    return this.#worker?.peaks ?? { processPeak, spilledTotal }
  }
}

new WorkerProcess().run()
