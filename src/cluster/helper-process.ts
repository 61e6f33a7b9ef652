// The program's side of the helper process: starts it, and speaks for the cluster in it. Neither the process nor the
// channel keeps the program alive, except while something is waited for; when the program ends, the channel ends, and the
// helper cleans up.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type Deferred, deferred } from '../base/deferred.ts'
import { withCertificatesAside } from '../base/extra-certificates.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { loadConfig } from '../config/index.ts'
import { type WorkerCommand, workerCommand } from '../nanny/child.ts'
import { cleanNodeOptions, workerEnvironment } from '../nanny/env.ts'
import type { AdaptiveOptions } from './adaptive.ts'
import type { ClusterBackend, ClusterPlan, ClusterScheduler, ClusterWorker } from './backend.ts'
import { fromWireFailure, type HelperToProgram, type ProgramToHelper } from './helper-messages.ts'

/** Built beside this file; child processes never run sources. */
const HELPER_MAIN = fileURLToPath(new URL('./helper-main.js', import.meta.url))
/** The helper bounds its own end below this. */
const CLOSE_MS_MAX = 20_000

export class HelperProcess implements ClusterBackend {
  readonly #plan: ClusterPlan
  #child: ChildProcess | null = null
  #workers: readonly ClusterWorker[] = []
  #started: Deferred<ClusterScheduler> = deferred()
  readonly #listening: Deferred<string> = deferred()
  readonly #closed: Deferred<string> = deferred()
  readonly #scalings = new Map<number, Deferred<void>>()
  #lastScaling = 0
  #waiting = 0
  #endReason: string | null = null

  constructor(plan: ClusterPlan) {
    this.#plan = plan
  }

  get workers(): readonly ClusterWorker[] {
    return this.#workers
  }

  get listening(): Promise<string> {
    return this.#listening.promise
  }

  get closed(): Promise<string> {
    return this.#closed.promise
  }

  async start(): Promise<ClusterScheduler> {
    const environment = helperEnvironment()
    const child = spawn(process.execPath, [HELPER_MAIN], {
      env: runsUserCode(this.#plan) ? environment : withCertificatesAside(environment),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child = child
    child.on('message', (message) => this.#onMessage(message as HelperToProgram))
    child.on('error', (error) => this.#onGone(`the helper process could not be started: ${error.message}`))
    child.on('exit', (code, signal) =>
      this.#onGone(`the helper process ended (${signal ?? `exit code ${String(code)}`})`),
    )
    child.unref()
    child.channel?.unref()
    this.#send({ op: 'start', plan: this.#plan, worker: workerOf(this.#plan, environment) })
    try {
      return await this.#during(this.#started.promise)
    } catch (error) {
      await this.#during(this.#closed.promise)
      throw error
    }
  }

  async scale(n: number): Promise<void> {
    if (this.#closed.settled) throw this.#goneError('it cannot be scaled')
    const id = ++this.#lastScaling
    const scaled: Deferred<void> = deferred()
    this.#scalings.set(id, scaled)
    this.#send({ op: 'scale', id, n })
    await this.#during(scaled.promise)
  }

  adapt(options: AdaptiveOptions): Promise<void> {
    if (this.#closed.settled) return Promise.reject(this.#goneError('it cannot adapt'))
    this.#send({ op: 'adapt', options })
    return Promise.resolve()
  }

  async close(reason: string): Promise<void> {
    if (this.#child === null) this.#closed.resolve(reason)
    if (this.#closed.settled) return
    this.#send({ op: 'close', reason })
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), CLOSE_MS_MAX)
    await this.#during(this.#closed.promise)
    clearTimeout(late)
  }

  #send(message: ProgramToHelper): void {
    if (this.#child?.connected === true) this.#child.send(message, () => {})
  }

  #onMessage(message: HelperToProgram): void {
    switch (message.op) {
      case 'listening':
        return this.#listening.resolve(message.address)
      case 'started':
        return this.#started.resolve(message.scheduler)
      case 'start-failed':
        return this.#started.reject(fromWireFailure(message.error))
      case 'workers':
        this.#workers = message.workers
        return
      case 'scaled': {
        const scaled = this.#scalings.get(message.id)
        this.#scalings.delete(message.id)
        return message.error === null ? scaled?.resolve() : scaled?.reject(fromWireFailure(message.error))
      }
      case 'closed':
        this.#endReason = message.reason
    }
  }

  /** The process is gone, and with it everything that it hosted. */
  #onGone(how: string): void {
    const reason = this.#endReason ?? how
    this.#workers = []
    this.#closed.resolve(reason)
    this.#endReason = reason
    this.#started.reject(this.#goneError('it was not ready yet'))
    for (const scaled of this.#scalings.values()) scaled.reject(this.#goneError('it was being scaled'))
    this.#scalings.clear()
  }

  #goneError(what: string): PlimsollError {
    return new PlimsollError('COMM_CLOSED', `the cluster is gone (${this.#endReason ?? 'closed'}), ${what}`)
  }

  /** The program lives on while somebody waits: for a message, or for the end of the process after the last one. */
  async #during<T>(promise: Promise<T>): Promise<T> {
    if (this.#waiting++ === 0) {
      this.#child?.ref()
      this.#child?.channel?.ref()
    }
    try {
      return await promise
    } finally {
      if (--this.#waiting === 0) {
        this.#child?.unref()
        this.#child?.channel?.unref()
      }
    }
  }
}

/** The program's own, without what was meant for its process alone: workers inherit it from the helper. */
function helperEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, PLIMSOLL_TOKEN: _token, ...env } = process.env
  const options = cleanNodeOptions(NODE_OPTIONS ?? '')
  return options === '' ? env : { ...env, NODE_OPTIONS: options }
}

/** What the nannies in the helper will ask for; said here, so that the helper need not load what finds it out. */
function workerOf(plan: ClusterPlan, own: NodeJS.ProcessEnv): WorkerCommand {
  const config = loadConfig({ overrides: plan.config, env: {}, files: [] })
  return workerCommand({ ...plan, executor: 'process' }, workerEnvironment(config, { own, env: plan.env }))
}

/** Policies of the user's own, `MODULE#EXPORT`, run in the scheduler. */
function runsUserCode({ config }: ClusterPlan): boolean {
  const policies = config['scheduler.active-memory-manager.policies']
  return Array.isArray(policies) && policies.some((policy) => String(policy).includes('#'))
}
